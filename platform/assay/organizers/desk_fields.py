"""What the desk's forms ask: for each key of the challenge file its words, and how its value looks as text and back.

A form checks nothing by itself. What is typed goes into the file as it is, and the file's reader says what is wrong with it, so that
there is one set of rules. Only what was changed is written, so nothing else of the file moves.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from assay.challenges.definition import CARRIES, KINDS, OPENED, SHOWS

Text = str | Promise


@dataclass(frozen=True, kw_only=True)
class Field:
    """One key. `kind`: text, long, number, moment, flag, choice, names or some (of `choices`)."""

    name: str
    label: Text
    kind: str = "text"
    help: Text = ""
    choices: Sequence[tuple[str, Text]] = ()
    is_empty_allowed: bool = True

    def shown(self, value: Any, *, zone: tzinfo) -> str:
        """A value as the form shows it."""
        if value is None or value == ():
            return ""
        if isinstance(value, datetime):
            return f"{value.astimezone(zone):%Y-%m-%d %H:%M}"
        if isinstance(value, bool):
            return "yes" if value else ""
        if isinstance(value, float):
            return f"{value:g}"
        return ", ".join(value) if isinstance(value, list | tuple) else str(value)

    def typed(self, data: Mapping[str, Any]) -> str:
        """What was posted, in the form that `shown` has."""
        if self.kind == "some":
            return ", ".join(name for name, _words in self.choices if name in data.getlist(self.name))  # type: ignore[attr-defined]  # a QueryDict
        text = str(data.get(self.name, ""))
        return text.replace("\r\n", "\n").strip() if self.kind == "long" else text.strip()

    def value(self, text: str) -> Any:
        """What the file is to say. A number that is none stays text: the file's reader says so at its place."""
        match self.kind:
            case "flag":
                return bool(text)
            case "number":
                return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else text or None
            case "names" | "some":
                return [name.strip() for name in text.split(",") if name.strip()] or None
        return text or None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Fields that belong together."""

    title: Text
    fields: tuple[Field, ...]
    is_open: bool = True


@dataclass
class Row:
    """One field with its state: what it showed, what is typed, what is wrong with it."""

    field: Field
    was: str
    text: str
    now: str = ""
    """What it is by now, where somebody else changed it meanwhile."""
    errors: list[str] = dataclasses.field(default_factory=list)

    @property
    def chosen(self) -> list[str]:
        """The ticked ones of a field of kind some."""
        return [name.strip() for name in self.text.split(",")]

    @property
    def is_changed(self) -> bool:
        """Whether the person changed it."""
        return self.text != self.was


TEXTS = (
    Group(
        title=_("What it is"),
        fields=(
            Field(name="title", label=_("Title")),
            Field(name="summary", label=_("Summary"), help=_("One sentence for the list of challenges.")),
            Field(name="description", label=_("Description"), kind="long", help=_("Markdown.")),
            Field(name="rules", label=_("Rules"), kind="long", help=_("Markdown.")),
        ),
    ),
    Group(
        title=_("Facts"),
        fields=(
            Field(name="modality", label=_("Modality")),
            Field(name="anatomy", label=_("Anatomy")),
            Field(name="licence", label=_("Licence")),
            Field(name="contact", label=_("Contact"), help=_("A mail address.")),
            Field(name="citation", label=_("Citation"), kind="long"),
        ),
    ),
    Group(
        title=_("People and time"),
        fields=(
            Field(
                name="timezone",
                label=_("Time zone"),
                help=_("What times on these pages mean: UTC, AoE, or a name such as Europe/Berlin."),
            ),
            Field(
                name="organizers", label=_("Organizers"), kind="names", help=_("User names, with commas between them.")
            ),
            Field(name="requires_approval", label=_("Organizers accept each participant"), kind="flag"),
            Field(name="is_archived", label=_("Archived: readable, and closed to submissions"), kind="flag"),
        ),
    ),
)


def pairs(names: Sequence[str], words: Mapping[str, Text]) -> tuple[tuple[str, Text], ...]:
    """Choices with their words."""
    return tuple((name, words.get(name, name)) for name in names)


KIND_CHOICES = pairs(KINDS, {"container": _("container images"), "predictions": _("archives of predictions")})


def phase_groups(*, others: Sequence[str], testsets: Sequence[str]) -> tuple[Group, ...]:
    """The form of a phase. `others`: slugs of the challenge's other phases. `testsets`: names of its test sets."""
    none = ("", "–")
    return (
        Group(
            title=_("What and when"),
            fields=(
                Field(name="title", label=_("Title")),
                Field(name="kind", label=_("Teams submit"), kind="choice", choices=KIND_CHOICES),
                Field(name="opens_at", label=_("Opens"), kind="moment"),
                Field(name="closes_at", label=_("Closes"), kind="moment"),
                Field(
                    name="late_until",
                    label=_("Late submissions until"),
                    kind="moment",
                    help=_("Scored and never ranked. Empty: none are taken."),
                ),
                Field(
                    name="testset",
                    label=_("Test set"),
                    kind="choice",
                    choices=(none, *((name, name) for name in testsets)),
                ),
            ),
        ),
        Group(
            title=_("Limits"),
            fields=(
                Field(name="submission_limit", label=_("Submissions per team and window"), kind="number"),
                Field(name="submission_window_days", label=_("Length of that window in days"), kind="number"),
                Field(name="submission_limit_total", label=_("Submissions per team in all"), kind="number"),
                Field(name="concurrent_limit", label=_("Unfinished submissions per team"), kind="number"),
                Field(name="running_limit", label=_("Cases running at once"), kind="number"),
                Field(name="running_limit_per_team", label=_("Cases of one team running at once"), kind="number"),
                Field(name="max_image_bytes", label=_("Largest archive in bytes"), kind="number"),
                Field(
                    name="counts_same_image",
                    label=_("The same image by other teams uses attempts up too"),
                    kind="flag",
                ),
                Field(name="pool", label=_("Pool of nodes")),
            ),
        ),
        Group(
            title=_("Who may begin, and what is brought along"),
            fields=(
                Field(
                    name="requires_phase",
                    label=_("Comes after"),
                    kind="choice",
                    choices=(none, *((name, name) for name in others)),
                ),
                Field(name="requires_rank", label=_("Worst rank there that goes on"), kind="number"),
                Field(
                    name="carry_over",
                    label=_("Entered of the phase before"),
                    kind="choice",
                    choices=pairs(
                        CARRIES,
                        {
                            "none": _("nothing"),
                            "best": _("each team's best submission"),
                            "chosen": _("the submission each team chose"),
                            "team": _("what teams enter themselves"),
                        },
                    ),
                ),
            ),
        ),
        Group(
            title=_("The leaderboard"),
            fields=(
                Field(
                    name="leaderboard_shows",
                    label=_("Shows"),
                    kind="choice",
                    choices=pairs(
                        SHOWS,
                        {
                            "best": _("each team's best submission"),
                            "latest": _("each team's latest submission"),
                            "all": _("all submissions"),
                            "chosen": _("the submission each team chooses"),
                        },
                    ),
                ),
                Field(name="divisions", label=_("Divisions"), kind="names", help=_("Names, with commas between them.")),
                Field(name="is_anonymous", label=_("Hides who is behind a row"), kind="flag"),
                Field(name="public_percent", label=_("Shown part of the cases in percent"), kind="number"),
                Field(name="freeze_hours", label=_("Frozen so many hours before closing"), kind="number"),
            ),
        ),
        Group(
            title=_("Results"),
            fields=(
                Field(name="is_embargoed", label=_("Under embargo"), kind="flag"),
                Field(name="embargo_until", label=_("Embargo until"), kind="moment"),
                Field(
                    name="releases_at",
                    label=_("Released at"),
                    kind="moment",
                    help=_("Empty: when the phase is over."),
                ),
                Field(
                    name="release_after",
                    label=_("The release opens"),
                    kind="some",
                    choices=pairs(
                        OPENED,
                        {
                            "boards": _("the leaderboard"),
                            "cases": _("single cases"),
                            "submissions": _("everybody's submissions"),
                            "reports": _("the statistics report"),
                        },
                    ),
                ),
                Field(name="review_days", label=_("Days in which teams may object"), kind="number"),
            ),
        ),
        Group(
            title=_("State"),
            fields=(
                Field(name="is_paused", label=_("Paused: no new submissions"), kind="flag"),
                Field(name="is_archived", label=_("Archived: over for good"), kind="flag"),
                Field(name="priority", label=_("Priority"), kind="number"),
            ),
        ),
    )


NEW_PHASE = (
    Group(
        title=_("A new phase"),
        fields=(
            Field(name="slug", label=_("Short name in addresses"), help=_("a-z, 0-9 and hyphens.")),
            Field(name="title", label=_("Title")),
            Field(name="kind", label=_("Teams submit"), kind="choice", choices=KIND_CHOICES),
            Field(name="opens_at", label=_("Opens"), kind="moment"),
            Field(name="closes_at", label=_("Closes"), kind="moment"),
        ),
    ),
)
