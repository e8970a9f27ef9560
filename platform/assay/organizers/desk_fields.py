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
Choices = Sequence[tuple[str, Text]]
NONE = ("", "–")


@dataclass(frozen=True)
class Field:
    """One key of the file. `kind`: text, long, number, moment, flag, choice, names, some (of `choices`) or rows (of `columns`)."""

    name: str
    kind: str
    label: Text
    help: Text = ""
    choices: Choices = ()
    columns: Sequence[str] = ()

    def shown(self, value: Any, *, zone: tzinfo) -> str:
        """A value as the form shows it."""
        if value is None or value == ():
            return ""
        if isinstance(value, datetime):
            return f"{value.astimezone(zone):%Y-%m-%d %H:%M}"
        if isinstance(value, bool):
            return "yes" if value else ""
        if self.kind == "rows":
            return "\n".join(line_of(row, columns=self.columns) for row in value)
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
        return self.kind in ("long", "rows")

    def value(self, text: str) -> Any:
        """What the file is to say. A number that is none stays text: the file's reader says so at its place."""
        match self.kind:
            case "flag":
                return bool(text)
            case "number":
                return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else text or None
            case "rows":
                return [row_of(line, columns=self.columns) for line in text.splitlines() if line.strip()] or None
            case "names" | "some":
                return names_of(text) or None
        return text or None


LISTED = ("phases",)
"""Columns of rows that hold names, with commas between them."""


def names_of(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def line_of(row: Mapping[str, Any], *, columns: Sequence[str]) -> str:
    """An item of a list as one line: its values in their order, with bars between them."""
    cells = (", ".join(row[key]) if key in LISTED else str(row.get(key, "")) for key in columns)
    return " | ".join(cells).rstrip(" |")


def row_of(line: str, *, columns: Sequence[str]) -> dict[str, Any]:
    """`Name | https://… | picture` as the file has it. What is empty is left out, except what comes first."""
    cells = [cell.strip() for cell in line.split("|", len(columns) - 1)]
    said = {key: cell for key, cell in zip(columns, cells, strict=False) if cell or key == columns[0]}
    return {key: names_of(cell) if key in LISTED else cell for key, cell in said.items()}


@dataclass(frozen=True)
class Group:
    """Fields that belong together."""

    title: Text
    fields: tuple[Field, ...]


@dataclass
class Row:
    """One field with its state: what it showed, what is typed, what somebody else wrote meanwhile."""

    field: Field
    was: str
    text: str
    now: str = ""
    """What it is by now, where somebody else changed it meanwhile."""

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
        _("What it is"),
        (
            Field("title", "text", _("Title")),
            Field("summary", "text", _("Summary"), _("One sentence for the list of challenges.")),
            Field("description", "long", _("Description"), _("Markdown.")),
            Field("rules", "long", _("Rules"), _("Markdown.")),
        ),
    ),
    Group(
        _("Facts"),
        (
            Field("modality", "text", _("Modality")),
            Field("anatomy", "text", _("Anatomy")),
            Field("licence", "text", _("Licence")),
            Field("contact", "text", _("Contact"), _("A mail address, or an address that begins with https://.")),
            Field("citation", "long", _("Citation")),
        ),
    ),
    Group(
        _("People and time"),
        (
            Field(
                "timezone",
                "text",
                _("Time zone"),
                _("What times on these pages mean: UTC, AoE, or a name such as Europe/Berlin."),
            ),
            Field("organizers", "names", _("Organizers"), _("User names, with commas between them.")),
            Field(
                "editors",
                "names",
                _("Editors"),
                _("They change texts, pictures and pages, announce news and moderate the discussion."),
            ),
            Field(
                "reviewers",
                "names",
                _("Reviewers"),
                _("They see every submission and case, and answer objections. They change nothing else."),
            ),
            Field("requires_approval", "flag", _("Organizers accept each participant")),
            Field("is_archived", "flag", _("Archived: readable, and closed to submissions")),
        ),
    ),
    Group(
        _("Several phases together"),
        (
            Field(
                "combined",
                "rows",
                _("Combined boards"),
                _("One per line: short name | title | phase, phase | mean_rank or median_rank."),
                columns=("slug", "title", "phases", "by"),
            ),
        ),
    ),
)

PAGE = (
    Group(
        _("A page"),
        (
            Field("title", "text", _("Title")),
            Field("slug", "text", _("Short name in addresses"), _("a-z, 0-9 and hyphens.")),
            Field(
                "text",
                "long",
                _("Text"),
                _("Markdown. ![what it shows](picture:NAME) shows a picture of this challenge."),
            ),
        ),
    ),
)


def text_groups(*, pictures: Sequence[str], names: Collection[str] | None = None) -> tuple[Group, ...]:
    """The form of the texts. `pictures`: what the challenge has. `names`: the only keys that this person may change."""
    choices = (NONE, *((name, name) for name in pictures))
    look = Group(
        _("Look"),
        (
            Field("logo", "choice", _("Logo"), choices=choices),
            Field("banner", "choice", _("Banner"), choices=choices),
            Field(
                "sponsors",
                "rows",
                _("Sponsors"),
                _("One per line: name | https://… | name of a picture. The last two may be left out."),
                columns=("name", "url", "picture"),
            ),
        ),
    )
    what, facts, *rest = TEXTS
    groups = (what, facts, look, *rest)
    if names is None:
        return groups
    kept = [dataclasses.replace(g, fields=tuple(f for f in g.fields if f.name in names)) for g in groups]
    return tuple(group for group in kept if group.fields)


def pairs(names: Sequence[str], words: Mapping[str, Text]) -> Choices:
    """Choices with their words."""
    return tuple((name, words.get(name, name)) for name in names)


KIND_CHOICES = pairs(KINDS, {"container": _("container images"), "predictions": _("archives of predictions")})
CARRY_CHOICES = pairs(
    CARRIES,
    {
        "none": _("nothing"),
        "best": _("each team's best submission"),
        "chosen": _("the submission each team chose"),
        "team": _("what teams enter themselves"),
    },
)
SHOW_CHOICES = pairs(
    SHOWS,
    {
        "best": _("each team's best submission"),
        "latest": _("each team's latest submission"),
        "all": _("all submissions"),
        "chosen": _("the submission each team chooses"),
    },
)
OPEN_CHOICES = pairs(
    OPENED,
    {
        "boards": _("the leaderboard"),
        "cases": _("single cases"),
        "submissions": _("everybody's submissions"),
        "reports": _("the statistics report"),
    },
)


def phase_groups(*, others: Sequence[str], testsets: Sequence[str], pools: Mapping[str, str]) -> tuple[Group, ...]:
    """The form of a phase. `others`: slugs of the challenge's other phases. `pools`: name → machines in words."""
    test_sets = (NONE, *((name, name) for name in testsets))
    before = (NONE, *((name, name) for name in others))
    machines = tuple((name, f"{name}: {words}") for name, words in pools.items())
    return (
        Group(
            _("What and when"),
            (
                Field("title", "text", _("Title")),
                Field("kind", "choice", _("Teams submit"), choices=KIND_CHOICES),
                Field("opens_at", "moment", _("Opens")),
                Field("closes_at", "moment", _("Closes")),
                Field(
                    "late_until",
                    "moment",
                    _("Late submissions until"),
                    _("Scored and never ranked. Empty: none are taken."),
                ),
                Field("testset", "choice", _("Test set"), choices=test_sets),
            ),
        ),
        Group(
            _("Limits"),
            (
                Field("submission_limit", "number", _("Submissions per team and window")),
                Field("submission_window_days", "number", _("Length of that window in days")),
                Field("submission_limit_total", "number", _("Submissions per team in all")),
                Field("concurrent_limit", "number", _("Unfinished submissions per team")),
                Field("running_limit", "number", _("Cases running at once")),
                Field("running_limit_per_team", "number", _("Cases of one team running at once")),
                Field("max_image_bytes", "number", _("Largest archive in bytes")),
                Field("counts_same_image", "flag", _("The same image by other teams uses attempts up too")),
                Field(
                    "pool",
                    "choice",
                    _("Machines and their GPUs"),
                    _("How many GPUs a case gets stands under Rules."),
                    choices=machines,
                ),
                Field(
                    "needs",
                    "names",
                    _("What a node has to have"),
                    _(
                        "Such as gpu=A100, gpu_memory_gb=40, driver=535, cpus=8, memory_gb=64. Empty: any node of the pool."
                    ),
                ),
            ),
        ),
        Group(
            _("Budget of the whole phase"),
            (
                Field(
                    "budget_hours",
                    "number",
                    _("Hours on nodes, all teams together"),
                    _("When it is used up, nothing more is accepted. Empty: no limit."),
                ),
                Field("team_budget_hours", "number", _("Hours on nodes, each team")),
                Field("budget_gib", "number", _("GiB of images and predictions, all teams together")),
                Field("team_budget_gib", "number", _("GiB of images and predictions, each team")),
            ),
        ),
        Group(
            _("Who may begin, and what is brought along"),
            (
                Field("requires_phase", "choice", _("Comes after"), choices=before),
                Field("requires_rank", "number", _("Worst rank there that goes on")),
                Field("carry_over", "choice", _("Entered of the phase before"), choices=CARRY_CHOICES),
            ),
        ),
        Group(
            _("The leaderboard"),
            (
                Field("leaderboard_shows", "choice", _("Shows"), choices=SHOW_CHOICES),
                Field("divisions", "names", _("Divisions"), _("Names, with commas between them.")),
                Field("is_anonymous", "flag", _("Hides who is behind a row")),
                Field("public_percent", "number", _("Shown part of the cases in percent")),
                Field("freeze_hours", "number", _("Frozen so many hours before closing")),
            ),
        ),
        Group(
            _("Results"),
            (
                Field("is_embargoed", "flag", _("Under embargo")),
                Field("embargo_until", "moment", _("Embargo until")),
                Field("releases_at", "moment", _("Released at"), _("Empty: when the phase is over.")),
                Field("release_after", "some", _("The release opens"), choices=OPEN_CHOICES),
                Field("review_days", "number", _("Days in which teams may object")),
            ),
        ),
        Group(
            _("How long files are kept"),
            (
                Field(
                    "keep_images_days",
                    "number",
                    _("Images, in days after the phase's end"),
                    _("Empty: no limit. Scores, ranks and receipts always stay."),
                ),
                Field(
                    "keep_predictions_days",
                    "number",
                    _("Predictions, in days after the phase's end"),
                    _("What is deleted cannot be scored again."),
                ),
                Field("keep_logs_days", "number", _("Logs of containers, in days after the phase's end")),
            ),
        ),
        Group(
            _("State"),
            (
                Field("is_paused", "flag", _("Paused: no new submissions")),
                Field("is_archived", "flag", _("Archived: over for good")),
                Field("priority", "number", _("Priority")),
            ),
        ),
    )


NEW_PHASE = (
    Group(
        _("A new phase"),
        (
            Field("slug", "text", _("Short name in addresses"), _("a-z, 0-9 and hyphens.")),
            Field("title", "text", _("Title")),
            Field("kind", "choice", _("Teams submit"), choices=KIND_CHOICES),
            Field("opens_at", "moment", _("Opens")),
            Field("closes_at", "moment", _("Closes")),
        ),
    ),
)
