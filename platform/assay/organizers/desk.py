"""The desk: forms for the texts of a challenge and for its phases. Each save writes the one challenge file and pushes it.

What a person did not change is not written. What is wrong stands at its field, with what was found and expected, and everything that
was typed stays. When somebody else changed the challenge meanwhile, the page says who and when and shows both values.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from assay.accounts.errors import AssayError, ConflictError, InvalidError
from assay.accounts.models import User
from assay.challenges.access import (
    get_edited_challenge,
    get_organized_challenge,
    get_organized_phase,
    is_organizer,
)
from assay.challenges.definition import NO_PROTOCOL, ChallengeDefinition, PhaseDefinition, parse_definition
from assay.challenges.editing import appended, edited, fingerprint, place_of
from assay.challenges.models import Challenge, Phase
from assay.challenges.pools import EVERYBODYS, may_use
from assay.challenges.services import EDITABLE, organizer_names
from assay.challenges.writing import current_file, is_written_anew
from assay.challenges.zones import zone_of
from assay.organizers.desk_fields import NEW_PHASE, Field, Group, Row, phase_groups, text_groups
from assay.organizers.views import frame, or_the_file
from assay.pages.errors import error_words
from assay.pages.typed import again, note, noted
from assay.runs.nodes import machines_of_pools
from assay.workflow.flow.pushing import push_edit
from evaluator.documents import Pointer


class Desk:
    """One form over the values at one path of the challenge file."""

    def __init__(
        self, request: HttpRequest, challenge: Challenge, *, groups: Sequence[Group], path: Pointer = ()
    ) -> None:
        self.request, self.challenge, self.groups, self.path = request, challenge, groups, path
        self.source = current_file(challenge)
        self.definition = parse_definition(self.source)
        self.zone = zone_of(self.definition.timezone) or UTC
        self.plan: list[str] | None = None
        self.typed = request.POST if request.method == "POST" else again(request)
        self.rows = {field.name: self._row(field) for group in groups for field in group.fields}

    def _row(self, field: Field) -> Row:
        now = field.shown(self._held(field.name), zone=self.zone)
        if self.typed is None:
            return Row(field=field, was=now, text=now)
        was, text = self.typed.get(f"was-{field.name}", now), field.typed(self.typed)
        was = was.replace("\r\n", "\n")
        if text == was:  # not touched: whatever it is by now
            return Row(field=field, was=now, text=now)
        return Row(field=field, was=was, text=text, now=now if now != was else "")

    def _held(self, name: str) -> Any:
        if not self.path:
            return organizer_names(self.challenge) if name == "organizers" else getattr(self.definition, name)
        return getattr(self.held, name)

    @property
    def held(self) -> ChallengeDefinition | PhaseDefinition:
        """What the file says at the path."""
        return self.definition if not self.path else self.definition.phases[int(self.path[1])]

    def saved(self) -> dict[str, str]:
        """What the fields hold now, by name."""
        return {name: row.text for name, row in self.rows.items()}

    def edits(self) -> dict[Pointer, Any]:
        """What the person changed, by its place in the file."""
        changed = {row.field.name: row.field.value(row.text) for row in self.rows.values() if row.is_changed}
        return {(*self.path, name): value for name, value in changed.items()}

    def text(self) -> str:
        """The file as it would be."""
        return edited(self.source, self.edits())

    def save(self, user: User) -> bool:
        """Push what was typed, or say at its field what is wrong with it. A check alone (`check`) shows the plan."""
        is_check = "check" in self.request.POST
        text = self.source
        try:
            text = self.text()
            changes = self._push(user, text, made_from=self.request.POST.get("made_from", ""), is_dry_run=is_check)
        except AssayError as error:
            self._say(error, text)
            return False
        if is_check:
            self.plan = changes
            note(self.request, [], is_filled=True)
            return False
        said = ngettext("Saved: %(count)s change.", "Saved: %(count)s changes.", len(changes))
        messages.success(self.request, said % {"count": len(changes)})
        return True

    def _push(self, user: User, text: str, *, made_from: str, is_dry_run: bool) -> list[str]:
        changes = push_edit(
            challenge=self.challenge,
            user=user,
            source=text,
            made_from=made_from,
            is_dry_run=is_dry_run,
            now=timezone.now(),
        )
        return [change.text for change in changes]

    def is_saved(self, user: User) -> bool:
        """Whether the form was sent and pushed. A page that is only opened shows the plan of what was checked a moment ago."""
        if self.request.method == "POST":
            return self.save(user)
        if self.typed is not None and "check" in self.typed:
            with suppress(AssayError):  # the page says what is wrong already
                self.plan = self._push(user, self.text(), made_from=self.typed.get("made_from", ""), is_dry_run=True)
        return False

    def _say(self, error: AssayError, text: str) -> None:
        path = place_of(error, text)
        own = path[len(self.path) :] if path is not None and path[: len(self.path)] == self.path else ()
        row = self.rows.get(self.key_of(own)) if own else None
        note(self.request, [(row.field.name if row else error.field, error_words(error))], is_filled=True)

    def key_of(self, path: Pointer) -> str:
        """The field that stands for a place below the form's own."""
        return str(path[0])

    def page(self) -> dict[str, Any]:
        """What the template needs."""
        if any(isinstance(row, Row) and row.now for row in self.rows.values()):
            for row in self.rows.values():
                row.was = row.now or row.was
        return {
            "groups": [
                {"title": group.title, "rows": [self.rows[field.name] for field in group.fields]}
                for group in self.groups
            ],
            "made_from": fingerprint(self.source),
            "status": 400 if noted(self.request) else 200,
            "is_written_anew": is_written_anew(self.source, self.challenge),
            "plan": self.plan,
            "zone_name": self.definition.timezone,
        }


@or_the_file
def texts(request: HttpRequest, slug: str) -> HttpResponse:
    """The texts and facts of a challenge, its organizers, its time zone."""
    challenge, user = get_edited_challenge(person=request.user, slug=slug)
    names = None if is_organizer(person=user, challenge=challenge) else EDITABLE
    pictures = [name for name in (challenge.logo, challenge.banner) if name]
    pictures = sorted({*pictures, *challenge.pictures.values_list("name", flat=True)})
    desk = Desk(request, challenge, groups=text_groups(pictures=pictures, names=names))
    if desk.is_saved(user):
        return redirect("organizers:texts", slug)
    return _answer(request, challenge, desk, tab="texts", title=gettext("Texts and people"))


@or_the_file
def phase(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """Everything of one phase but its rules."""
    found, user = get_organized_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    challenge = found.challenge
    slugs = [row.slug for row in parse_definition(current_file(challenge)).phases]
    names = challenge.testsets.order_by("name").values_list("name", flat=True).distinct()
    others = [other for other in slugs if other != phase_slug]
    pools = pools_for(challenge, chosen=found.pool)
    groups = phase_groups(others=others, testsets=list(names), pools=pools)
    desk = Desk(request, challenge, groups=groups, path=("phases", slugs.index(phase_slug)))
    if desk.is_saved(user):
        return redirect("organizers:phase-edit", slug, phase_slug)
    return _answer(request, challenge, desk, tab="overview", title=found.title, phase=found)


def pools_for(challenge: Challenge, *, chosen: str) -> dict[str, str]:
    """The pools that a phase of the challenge may use, with their machines. What is chosen is always among them."""
    served = machines_of_pools()
    usable = [name for name in served if name == chosen or may_use(name, challenge=challenge)]
    names = dict.fromkeys([EVERYBODYS, chosen, *usable])
    return {name: served.get(name, gettext("no machine yet")) for name in names}


@or_the_file
def new_phase(request: HttpRequest, slug: str) -> HttpResponse:
    """One more phase, with the rules of the challenge."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    desk = NewPhase(request, challenge)
    if desk.is_saved(user):
        return redirect("organizers:phase-edit", slug, desk.rows["slug"].text)
    return _answer(request, challenge, desk, tab="overview", title=gettext("A new phase"))


class NewPhase(Desk):
    """The form of a phase that is not there yet."""

    def __init__(self, request: HttpRequest, challenge: Challenge) -> None:
        super().__init__(request, challenge, groups=NEW_PHASE, path=())
        self.path = ("phases", len(self.definition.phases))

    def _held(self, name: str) -> Any:
        return "container" if name == "kind" else ""

    def text(self) -> str:
        """The file with the new phase at the end. Without rules of the challenge it gets those of the first phase."""
        if self.rows["slug"].text in {phase.slug for phase in self.definition.phases}:
            raise ConflictError(gettext("There is a phase of this name."), found=self.rows["slug"].text, field="slug")
        values = {row.field.name: row.field.value(row.text) for row in self.rows.values() if row.text}
        if not self.challenge.phases.exists():
            raise InvalidError(gettext("Push a first phase with the challenge file."))
        first = self.challenge.phases.select_related("protocol").first()
        text = appended(self.source, ("phases",), values)
        try:
            parse_definition(text)
        except InvalidError as error:
            if first is not None and error.code == NO_PROTOCOL:
                return appended(self.source, ("phases",), {**values, "protocol": first.protocol.document})
        return text


def _answer(
    request: HttpRequest, challenge: Challenge, desk: Desk, *, tab: str, title: str, phase: Phase | None = None
) -> HttpResponse:
    shown = frame(challenge, tab=tab, title=title, phase=phase) | desk.page()
    return render(request, "organizers/desk.html", shown, status=shown["status"])
