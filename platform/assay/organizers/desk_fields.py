"""What the desk's forms ask: for each key of the challenge file its words, and how its value looks as text and back.

A form checks nothing by itself. What is typed goes into the file as it is, and the file's reader says what is wrong with it, so that
there is one set of rules. Only what was changed is written, so nothing else of the file moves.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
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
        if self.kind == "sponsors":
            return "\n".join(" | ".join(row.get(key, "") for key in SPONSOR_KEYS).rstrip(" |") for row in value)
        if isinstance(value, float):
            return f"{value:g}"
        return ", ".join(value) if isinstance(value, list | tuple) else str(value)

    def typed(self, data: Mapping[str, Any]) -> str:
        """What was posted, in the form that `shown` has."""
        if self.kind == "some":
            return ", ".join(name for name, _words in self.choices if name in data.getlist(self.name))  # type: ignore[attr-defined]  # a QueryDict
        text = str(data.get(self.name, ""))
        return text.replace("\r\n", "\n").strip() if self.is_long else text.strip()

    @property
    def is_long(self) -> bool:
        """Whether it takes several lines."""
        return self.kind in ("long", "sponsors")

    def value(self, text: str) -> Any:
        """What the file is to say. A number that is none stays text: the file's reader says so at its place."""
        match self.kind:
            case "flag":
                return bool(text)
            case "number":
                return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else text or None
            case "sponsors":
                return [sponsor_of(line) for line in text.splitlines() if line.strip()] or None
            case "names" | "some":
                return [name.strip() for name in text.split(",") if name.strip()] or None
        return text or None


SPONSOR_KEYS = ("name", "url", "picture")


def sponsor_of(line: str) -> dict[str, str]:
    """`Name | https://… | picture` as the file has it."""
    parts = [part.strip() for part in line.split("|", 2)]
    return {key: part for key, part in zip(SPONSOR_KEYS, parts, strict=False) if part or key == "name"}


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
            Field(
                name="editors",
                label=_("Editors"),
                kind="names",
                help=_("They change texts, pictures and pages, announce news and moderate the discussion."),
            ),
            Field(
                name="reviewers",
                label=_("Reviewers"),
                kind="names",
                help=_("They see every submission and case, and answer objections. They change nothing else."),
            ),
            Field(name="requires_approval", label=_("Organizers accept each participant"), kind="flag"),
            Field(name="is_archived", label=_("Archived: readable, and closed to submissions"), kind="flag"),
        ),
    ),
)


PAGE = (
    Group(
        title=_("A page"),
        fields=(
            Field(name="title", label=_("Title")),
            Field(name="slug", label=_("Short name in addresses"), help=_("a-z, 0-9 and hyphens.")),
            Field(
                name="text",
                label=_("Text"),
                kind="long",
                help=_("Markdown. ![what it shows](picture:NAME) shows a picture of this challenge."),
            ),
        ),
    ),
)


def text_groups(*, pictures: Sequence[str], names: Collection[str] | None = None) -> tuple[Group, ...]:
    """The form of the texts. `pictures`: what the challenge has. `names`: the only keys that this person may change."""
    choices = (("", "–"), *((name, name) for name in pictures))
    look = Group(
        title=_("Look"),
        fields=(
            Field(name="logo", label=_("Logo"), kind="choice", choices=choices),
            Field(name="banner", label=_("Banner"), kind="choice", choices=choices),
            Field(
                name="sponsors",
                label=_("Sponsors"),
                kind="sponsors",
                help=_("One per line: name | https://… | name of a picture. The last two may be left out."),
            ),
        ),
    )
    groups = (*TEXTS[:-1], look, TEXTS[-1])
    if names is None:
        return groups
    kept = [dataclasses.replace(g, fields=tuple(f for f in g.fields if f.name in names)) for g in groups]
    return tuple(group for group in kept if group.fields)


def pairs(names: Sequence[str], words: Mapping[str, Text]) -> tuple[tuple[str, Text], ...]:
    """Choices with their words."""
    return tuple((name, words.get(name, name)) for name in names)


KIND_CHOICES = pairs(KINDS, {"container": _("container images"), "predictions": _("archives of predictions")})


def phase_groups(*, others: Sequence[str], testsets: Sequence[str], pools: Mapping[str, str]) -> tuple[Group, ...]:
    """The form of a phase. `others`: slugs of the challenge's other phases. `pools`: name → machines in words."""
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
                Field(
                    name="pool",
                    label=_("Machines and their GPUs"),
                    kind="choice",
                    choices=tuple((name, f"{name}: {words}") for name, words in pools.items()),
                    help=_("How many GPUs a case gets stands under Rules."),
                ),
                Field(
                    name="needs",
                    label=_("What a node has to have"),
                    kind="names",
                    help=_(
                        "Such as gpu=A100, gpu_memory_gb=40, driver=535, cpus=8, memory_gb=64. Empty: any node of the pool."
                    ),
                ),
            ),
        ),
        Group(
            title=_("Budget of the whole phase"),
            fields=(
                Field(
                    name="budget_hours",
                    label=_("Hours on nodes, all teams together"),
                    kind="number",
                    help=_("When it is used up, nothing more is accepted. Empty: no limit."),
                ),
                Field(name="team_budget_hours", label=_("Hours on nodes, each team"), kind="number"),
                Field(name="budget_gib", label=_("GiB of images and predictions, all teams together"), kind="number"),
                Field(name="team_budget_gib", label=_("GiB of images and predictions, each team"), kind="number"),
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
