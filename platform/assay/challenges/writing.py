"""A challenge's file as it stands now: the text that was applied last, with what was changed by buttons since.

Theory of operation. The text is kept whole, comments included. Each value that the rows hold and the text does not say is written into
the text at its own place (`editing.py`). Everything else stays to the letter.
The result is read again. Where it does not say exactly what the rows hold (a phase was added elsewhere, a newer version refuses the
text, there is none yet), the file is written anew from the rows. The text then stands at its end, as comments: nothing typed is lost.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import yaml

from assay.accounts.errors import AssayError, InvalidError
from assay.challenges.definition import ChallengeDefinition, PhaseDefinition, parse_definition
from assay.challenges.editing import edited
from assay.challenges.models import Challenge, Phase
from assay.challenges.services import CHALLENGE_VALUES, HELPERS, PHASE_VALUES, held, names_in, organizer_names, plan
from evaluator.documents import Pointer

BEFORE = "# What stood in the file before it was written anew:"
"""The line above a text that is kept as comments."""


def current_file(challenge: Challenge) -> str:
    """The challenge file that, pushed as it is, would change nothing."""
    phases = list(challenge.phases.select_related("protocol", "requires"))
    if challenge.source:
        text = _edited(challenge, phases)
        if text is not None and _says_what_is(text, challenge):
            return text
    return _written(challenge, phases) + commented(challenge.source)


def is_written_anew(text: str, challenge: Challenge) -> bool:
    """Whether this file of the challenge is another one than was typed, with the typed one behind it."""
    return BEFORE in text and text != challenge.source


def commented(text: str) -> str:
    """A text as comments at the end of a file. Comments stay as they are, so a text that is kept twice grows by nothing."""
    if not text.strip():
        return ""
    shown = "".join(sign if sign.isprintable() or sign in "\t\n" else ascii(sign)[1:-1] for sign in text)
    lines = [line if line.startswith("#") else f"# {line}".rstrip() for line in shown.splitlines()]
    return "\n".join(["", *([] if BEFORE in lines else [BEFORE]), *lines, ""])


def unreadable(challenge: Challenge) -> tuple[str, InvalidError] | None:
    """The file where today's reader refuses it, and what is wrong with it. A newer version may refuse what an older one took."""
    for text in (challenge.source, current_file(challenge)):
        try:
            if text:
                parse_definition(text)
        except InvalidError as error:
            return text, error
    return None


def _says_what_is(text: str, challenge: Challenge) -> bool:
    try:
        return not list(plan(challenge=challenge, definition=parse_definition(text)))
    except AssayError:
        return False


def _edited(challenge: Challenge, phases: list[Phase]) -> str | None:
    """The text with what changed since. None where it cannot be read any more."""
    text = challenge.source
    try:
        definition = parse_definition(text)
    except AssayError:
        return None
    changed: dict[Pointer, Any] = {(name,): value for name, value in _of_challenge(challenge, definition).items()}
    rows = {phase.slug: phase for phase in phases}
    for number, wanted in enumerate(definition.phases):
        if wanted.slug in rows:
            values = _of_phase(rows[wanted.slug], wanted)
            changed |= {("phases", number, name): value for name, value in values.items()}
    return edited(text, changed)


def _of_challenge(challenge: Challenge, definition: ChallengeDefinition) -> Mapping[str, Any]:
    """Key → value, of what the text does not say as the rows do."""
    now = {name: held(challenge, name) for name in CHALLENGE_VALUES}
    now["slug"] = challenge.slug
    now["is_archived"] = challenge.status == Challenge.Status.ARCHIVED
    organizers = organizer_names(challenge)
    changed = {name: value for name, value in now.items() if value != getattr(definition, name)}
    listed = definition.organizers or (challenge.created_by.username,)
    for key, role in HELPERS.items():
        helpers = names_in(challenge, role=role)
        changed |= {} if set(helpers) == set(getattr(definition, key)) else {key: helpers or None}
    return changed if set(organizers) == set(listed) else changed | {"organizers": organizers}


def _of_phase(phase: Phase, wanted: PhaseDefinition) -> Mapping[str, Any]:
    changed = {name: held(phase, name) for name in PHASE_VALUES if held(phase, name) != getattr(wanted, name)}
    return changed if phase.testset_name == wanted.testset else changed | {"testset": phase.testset_name}


def _written(challenge: Challenge, phases: list[Phase]) -> str:
    """The file made from the rows alone."""
    empty = ChallengeDefinition(slug=challenge.slug, title="", phases=())
    said = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in _of_challenge(challenge, empty).items()
    }
    document: dict[str, Any] = {"slug": challenge.slug} | said
    document |= {"organizers": organizer_names(challenge)}
    versions = {phase.protocol_id for phase in phases}
    if len(versions) == 1:
        document["protocol"] = phases[0].protocol.document
    document["phases"] = [_written_phase(phase, has_own=len(versions) > 1) for phase in phases]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _written_phase(phase: Phase, *, has_own: bool) -> dict[str, Any]:
    values = {name: held(phase, name) for name in PHASE_VALUES}
    said = {
        name: value.isoformat() if isinstance(value, datetime) else list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None and value != getattr(PhaseDefinition, name, None)
    }
    said |= {"testset": phase.testset_name} if phase.testset_name else {}
    return {"slug": phase.slug} | said | ({"protocol": phase.protocol.document} if has_own else {})
