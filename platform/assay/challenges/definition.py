"""`challenge.yaml`: what an organizer pushes. Text in, frozen records out. Every error names its line.

Every key, what it means and what holds without it is in `docs/organizers/challenge-yaml.md`.

A phase may carry a `protocol` of its own. A day without a time opens at its start and closes, or ends an embargo, at its end.
The protocol is parsed by `evaluator.protocol` from the very characters of the file, padded so that its line numbers are the file's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from textwrap import dedent
from typing import Any

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.accounts.moments import EXPECTED, is_in_range
from assay.challenges.needs import EXPECTED as EXPECTED_NEEDS
from assay.challenges.needs import Needs
from assay.challenges.texts import LONGEST_TEXT
from assay.challenges.zones import EXPECTED as EXPECTED_ZONE
from assay.challenges.zones import moment_words, zone_of
from evaluator.documents import SHOWN_CHARACTERS, Document, DocumentError, Place, Pointer, read_document, shown
from evaluator.errors import ProtocolError
from evaluator.protocol import Protocol, check_work, load_named_protocol, load_protocol

LONGEST_BYTES = 1 << 20
SLUG_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
LONGEST_TITLE = 160
LONGEST_TEXTS = {
    "summary": 300,
    "description": LONGEST_TEXT,
    "rules": LONGEST_TEXT,
    "licence": 160,
    "modality": 80,
    "anatomy": 80,
    "citation": 4000,
    "contact": 254,
}
"""Characters; the columns of `Challenge` hold as much."""
KINDS = ("container", "predictions")
LONGEST_FOUND = 200
LONGEST_NUMBER_BITS = 128
LARGEST_NUMBER = 1_000_000
LONGEST_WINDOW_DAYS = 3660
UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
LOOSE_TIME = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)(?:[Tt]|\s+)(\d\d?):(\d\d)(?::(\d\d))?\s*(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
"""Also what YAML calls a time: one digit where ISO 8601 wants two, blanks before the zone."""
DAY_LENGTH = len("2026-11-01")
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
EXPECTED_TIME = "a day such as 2026-11-01, or a time such as 2026-11-01 12:00 or 2026-11-01T12:00+01:00"
FIRST_YEAR, LAST_YEAR = 1970, 2199
EXPECTED_DAY = "a day such as 2026-11-01"
LARGEST_PRIORITY = 100
LARGEST_IMAGE_BYTES = 2**45
SHOWS = ("best", "latest", "all", "chosen")
CARRIES = ("none", "best", "chosen", "team")
LONGEST_REVIEW_DAYS = 365
LONGEST_KEPT_DAYS = 36_500
OPENED = ("boards", "cases", "submissions", "reports")
"""What the release of a phase may open."""
MOST_DIVISIONS = 20
MOST_QUESTIONS, LONGEST_QUESTION = 20, 300
MOST_ADDRESSES, LONGEST_ADDRESS = 1000, 254
LONGEST_DIVISION = 40
MOST_PAGES = 20
MOST_SPONSORS = 50
LONGEST_MARKDOWN = LONGEST_TEXT
MOST_TASKS = 100
MOST_COMBINED = 10
COMBINES = ("mean_rank", "median_rank")
"""How ranks of several phases become one."""
WEB_ADDRESS = re.compile(r"https?://[^\s<>\"']+")


@dataclass(frozen=True, kw_only=True)
class PhaseDefinition:
    """One phase as written down."""

    slug: str
    title: str
    opens_at: datetime
    closes_at: datetime
    protocol: Protocol
    protocol_source: str
    kind: str = "container"
    submission_limit: int | None = None
    submission_window_days: int = 1
    submission_limit_total: int | None = None
    counts_same_image: bool = False
    concurrent_limit: int = 1
    running_limit: int | None = None
    running_limit_per_team: int | None = None
    pool: str = "default"
    testset: str = ""
    leaderboard_shows: str = "best"
    requires_phase: str = ""
    budget_hours: int | None = None
    team_budget_hours: int | None = None
    budget_gib: int | None = None
    team_budget_gib: int | None = None
    requires_rank: int | None = None
    late_until: datetime | None = None
    divisions: tuple[str, ...] = ()
    freeze_hours: int | None = None
    public_percent: int | None = None
    releases_at: datetime | None = None
    release_after: tuple[str, ...] = ()
    review_days: int | None = None
    carry_over: str = "none"
    keep_images_days: int | None = None
    keep_predictions_days: int | None = None
    keep_logs_days: int | None = None
    is_anonymous: bool = False
    is_paused: bool = False
    is_archived: bool = False
    priority: int = 0
    needs: tuple[str, ...] = ()
    max_image_bytes: int = 20 * 2**30
    embargo_until: datetime | None = None
    is_embargoed: bool = False


@dataclass(frozen=True, kw_only=True)
class ChallengeDefinition:
    """A challenge as written down."""

    slug: str
    title: str
    phases: tuple[PhaseDefinition, ...]
    summary: str = ""
    description: str = ""
    rules: str = ""
    licence: str = ""
    modality: str = ""
    anatomy: str = ""
    citation: str = ""
    contact: str = ""
    timezone: str = "UTC"
    requires_approval: bool = False
    is_private: bool = False
    questions: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    auto_accept: tuple[str, ...] = ()
    rules_version: int = 0
    team_size: int = 0
    merge_until: datetime | None = None
    agreements: Mapping[str, str] = field(default_factory=dict)
    is_archived: bool = False
    organizers: tuple[str, ...] = ()
    editors: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    pages: tuple[Mapping[str, str], ...] = ()
    logo: str = ""
    banner: str = ""
    sponsors: tuple[Mapping[str, str], ...] = ()
    tasks: tuple[Mapping[str, Any], ...] = ()
    combined: tuple[Mapping[str, Any], ...] = ()


NO_PROTOCOL = "no_protocol"
"""The code of the refusal of a phase for which no protocol is written, neither there nor at the top."""
CHALLENGE_KEYS = frozenset(field.name for field in fields(ChallengeDefinition)) | {"protocol"}
PHASE_KEYS = frozenset(field.name for field in fields(PhaseDefinition)) - {"protocol_source"}


def parse_definition(source: str) -> ChallengeDefinition:
    """Read a `challenge.yaml`. Raises `InvalidError` with line and column."""
    size = len(source.encode(errors="surrogatepass"))
    if size > LONGEST_BYTES:
        raise InvalidError(
            _("The file is too long."),
            found=_("%(size)s bytes") % {"size": size},
            expected=_("at most %(longest_bytes)s") % {"longest_bytes": LONGEST_BYTES},
        )
    root = Reader.of_text(source)
    root.refuse_unknown(CHALLENGE_KEYS)
    common = root.protocol(source)
    zone = root.zone("timezone")
    phases = tuple(read_phase(phase, source=source, common=common, zone=zone) for phase in root.items("phases"))
    if not phases:
        raise root.error(
            _("A challenge needs at least one phase."), expected=_("phases: [{slug: …, opens_at: …, closes_at: …}]")
        )
    slugs: set[str] = set()
    for phase in phases:
        if phase.slug in slugs:
            raise root.error(
                _("Two phases have one slug."), key="phases", found=phase.slug, expected=_("a slug of its own for each")
            )
        slugs.add(phase.slug)
    texts = {name: root.text(name, longest=longest) for name, longest in LONGEST_TEXTS.items()}
    people = read_people(root)
    return ChallengeDefinition(
        slug=root.slug("slug"),
        title=root.text("title", is_required=True, longest=LONGEST_TITLE),
        phases=phases,
        timezone=root.text("timezone") or "UTC",
        requires_approval=root.flag("requires_approval"),
        is_private=root.flag("is_private"),
        questions=root.lines("questions", most=MOST_QUESTIONS, longest=LONGEST_QUESTION),
        allow=root.lines("allow", most=MOST_ADDRESSES, longest=LONGEST_ADDRESS),
        deny=root.lines("deny", most=MOST_ADDRESSES, longest=LONGEST_ADDRESS),
        auto_accept=root.lines("auto_accept", most=MOST_ADDRESSES, longest=LONGEST_ADDRESS),
        rules_version=root.number("rules_version", least=0, most=LARGEST_NUMBER) or 0,
        team_size=root.number("team_size", least=0, most=LARGEST_NUMBER) or 0,
        merge_until=root.moment("merge_until", zone=zone, ends=True),
        agreements=root.agreements("agreements"),
        is_archived=root.flag("is_archived"),
        organizers=people["organizers"],
        editors=people["editors"],
        reviewers=people["reviewers"],
        pages=read_pages(root),
        logo=root.slug("logo") if root.has("logo") else "",
        banner=root.slug("banner") if root.has("banner") else "",
        sponsors=read_sponsors(root),
        tasks=read_tasks(root),
        combined=read_combined(root),
        **texts,
    )


def read_people(root: "Reader") -> dict[str, tuple[str, ...]]:
    """Who organizes, edits and reviews. Nobody does two of these."""
    found = {key: root.names(key) for key in ("organizers", "editors", "reviewers")}
    listed = [name for names in found.values() for name in names]
    if twice := sorted({name for name in listed if listed.count(name) > 1}):
        raise root.error(
            _("Somebody is named for two parts."),
            key="reviewers" if set(twice) & set(found["reviewers"]) else "editors",
            found=", ".join(twice),
            expected=_("each name once among `organizers`, `editors` and `reviewers`"),
        )
    return found


def read_list(root: "Reader", key: str, *, most: int, too_many: str) -> list["Reader"]:
    """A list of mappings that may be left out. Raises InvalidError with `too_many` where it is longer than `most`."""
    readers = root.items(key) if root.has(key) else []
    if len(readers) > most:
        raise root.error(too_many, key=key, found=len(readers), expected=_("at most %(most)s") % {"most": most})
    return readers


def refuse_second(reader: "Reader", *, slug: str, others: Sequence[Mapping[str, Any]], message: str) -> None:
    """Raise InvalidError where one of the others has this slug."""
    if any(slug == other["slug"] for other in others):
        raise reader.error(message, key="slug", found=slug, expected=_("a slug of its own for each"))


def read_pages(root: "Reader") -> tuple[Mapping[str, str], ...]:
    """The challenge's further pages, in their order."""
    pages: list[Mapping[str, str]] = []
    for reader in read_list(root, "pages", most=MOST_PAGES, too_many=_("There are too many pages.")):
        reader.refuse_unknown(frozenset({"slug", "title", "text"}))
        page = {
            "slug": reader.slug("slug"),
            "title": reader.text("title", is_required=True, longest=LONGEST_TITLE),
            "text": reader.text("text", longest=LONGEST_MARKDOWN),
        }
        refuse_second(reader, slug=page["slug"], others=pages, message=_("Two pages have one slug."))
        pages.append(page)
    return tuple(pages)


def read_tasks(root: "Reader") -> tuple[Mapping[str, Any], ...]:
    """What the organizers mean to do, and until when. What is not said is left out."""
    found = []
    for reader in read_list(root, "tasks", most=MOST_TASKS, too_many=_("There are too many tasks.")):
        reader.refuse_unknown(frozenset({"title", "due", "is_done"}))
        said = {
            "title": reader.text("title", is_required=True, longest=LONGEST_TITLE),
            "due": reader.day("due"),
            "is_done": reader.flag("is_done"),
        }
        found.append({key: value for key, value in said.items() if value})
    return tuple(found)


def read_combined(root: "Reader") -> tuple[Mapping[str, Any], ...]:
    """Boards that put the ranks of several phases together. Whether the phases are there is asked by `combined.py`."""
    found: list[Mapping[str, Any]] = []
    too_many = _("There are too many combined boards.")
    for reader in read_list(root, "combined", most=MOST_COMBINED, too_many=too_many):
        reader.refuse_unknown(frozenset({"slug", "title", "phases", "by"}))
        slug, phases = reader.slug("slug"), reader.names("phases")
        if len(phases) < 2:
            raise reader.error(
                _("A combined board is about several phases."),
                key="phases",
                found=", ".join(phases),
                expected=_("slugs of two phases or more"),
            )
        refuse_second(reader, slug=slug, others=found, message=_("Two combined boards have one slug."))
        title = reader.text("title", longest=LONGEST_TITLE) or slug.replace("-", " ").capitalize()
        by = reader.choice("by", choices=COMBINES)
        found.append({"slug": slug, "title": title, "phases": list(phases), "by": by})
    return tuple(found)


def read_sponsors(root: "Reader") -> tuple[Mapping[str, str], ...]:
    """Who pays for it, in the order of the pages' foot."""
    readers = read_list(root, "sponsors", most=MOST_SPONSORS, too_many=_("There are too many sponsors."))
    return tuple(read_sponsor(reader) for reader in readers)


def read_sponsor(reader: "Reader") -> Mapping[str, str]:
    """Name, and perhaps an address of the web and the name of a picture. What is not said is left out."""
    reader.refuse_unknown(frozenset({"name", "url", "picture"}))
    said = {
        "name": reader.text("name", is_required=True, longest=LONGEST_TITLE),
        "url": reader.text("url", longest=LONGEST_ADDRESS),
        "picture": reader.slug("picture") if reader.has("picture") else "",
    }
    if said["url"] and not WEB_ADDRESS.fullmatch(said["url"]):
        raise reader.error(
            _("The address of a sponsor leads to a page of the web."),
            key="url",
            found=said["url"],
            expected=_("https://…, without blanks"),
        )
    return {key: value for key, value in said.items() if value}


def read_phase(
    reader: "Reader", *, source: str, common: tuple[Protocol, str] | None, zone: tzinfo = UTC
) -> PhaseDefinition:
    """Read one item of `phases`."""
    reader.refuse_unknown(PHASE_KEYS)
    chosen = reader.protocol(source) or common
    if chosen is None:
        raise reader.error(
            _("The phase has no protocol."),
            code=NO_PROTOCOL,
            expected=_("`protocol:` in the phase or at the top of the file"),
        )
    release = chosen[0].release
    if release.rounding is not None and release.mode != "aggregate":
        raise reader.error(
            _("`release.rounding` is applied where means alone are released."),
            found=_("rounding: %(rounding)s with mode: %(mode)s")
            % {"rounding": release.rounding, "mode": release.mode},
            expected=_("mode: aggregate, or no rounding"),
        )
    opens_at, closes_at = reader.moment("opens_at", zone=zone), reader.moment("closes_at", zone=zone, ends=True)
    if opens_at is None or closes_at is None:
        raise reader.error(_("A phase needs `opens_at` and `closes_at`."), expected=_("times such as 2026-11-01 12:00"))
    if opens_at >= closes_at:
        raise reader.error(
            _("The phase closes before it opens."), key="closes_at", found=moment_words(closes_at, zone=zone)
        )
    embargo_until = reader.moment("embargo_until", zone=zone, ends=True)
    late_until = reader.moment("late_until", zone=zone, ends=True)
    if late_until is not None and late_until <= closes_at:
        raise reader.error(
            _("Late submissions end before the phase closes."),
            key="late_until",
            found=moment_words(late_until, zone=zone),
            expected=_("a time after %(closes)s") % {"closes": moment_words(closes_at, zone=zone)},
        )
    releases_at = reader.moment("releases_at", zone=zone, ends=True)
    if releases_at is not None and releases_at < closes_at:
        raise reader.error(
            _("Results are released before the phase closes."),
            key="releases_at",
            found=moment_words(releases_at, zone=zone),
            expected=_("%(closes)s or later") % {"closes": moment_words(closes_at, zone=zone)},
        )
    freeze_hours = reader.number("freeze_hours", least=1)
    if freeze_hours is not None and closes_at - timedelta(hours=freeze_hours) <= opens_at:
        raise reader.error(
            _("The board would be frozen before the phase opens."),
            key="freeze_hours",
            found=freeze_hours,
            expected=_("fewer hours than the phase is open"),
        )
    public_percent = reader.number("public_percent", least=1, most=99)
    if public_percent is not None and release.mode in ("ladder", "verdict_only"):
        raise reader.error(
            _("`public_percent` is for phases that release scores of the public cases."),
            key="public_percent",
            found=_("release: %(mode)s") % {"mode": release.mode},
            expected=_("release: aggregate or per_case"),
        )
    slug = reader.slug("slug")
    requires_phase = reader.slug("requires_phase") if reader.has("requires_phase") else ""
    requires_rank = reader.number("requires_rank", least=1)
    if requires_phase == slug:
        raise reader.error(
            _("A phase cannot come after itself."), key="requires_phase", found=slug, expected=_("another phase")
        )
    carry_over = reader.choice("carry_over", choices=CARRIES)
    if carry_over != "none" and not requires_phase:
        raise reader.error(
            _("`carry_over` takes submissions from the phase before."),
            key="carry_over",
            found=carry_over,
            expected=_("`requires_phase` as well"),
        )
    if requires_rank is not None and not requires_phase:
        raise reader.error(
            _("`requires_rank` is a rank in the phase before."),
            key="requires_rank",
            expected=_("`requires_phase` as well"),
        )
    return PhaseDefinition(
        slug=slug,
        title=reader.text("title", longest=LONGEST_TITLE) or slug.replace("-", " ").capitalize(),
        opens_at=opens_at,
        closes_at=closes_at,
        protocol=chosen[0],
        protocol_source=chosen[1],
        kind=reader.choice("kind", choices=KINDS),
        submission_limit=reader.number("submission_limit", least=0),
        submission_window_days=reader.number("submission_window_days", least=1, most=LONGEST_WINDOW_DAYS) or 1,
        submission_limit_total=reader.number("submission_limit_total", least=0),
        budget_hours=reader.number("budget_hours", least=0),
        team_budget_hours=reader.number("team_budget_hours", least=0),
        budget_gib=reader.number("budget_gib", least=0),
        team_budget_gib=reader.number("team_budget_gib", least=0),
        counts_same_image=reader.flag("counts_same_image"),
        concurrent_limit=reader.number("concurrent_limit", least=1) or 1,
        running_limit=reader.number("running_limit", least=1),
        running_limit_per_team=reader.number("running_limit_per_team", least=1),
        pool=reader.text("pool", longest=40) or "default",
        testset=reader.slug("testset") if reader.has("testset") else "",
        leaderboard_shows=reader.choice("leaderboard_shows", choices=SHOWS),
        requires_phase=requires_phase,
        requires_rank=requires_rank,
        late_until=late_until,
        divisions=reader.divisions("divisions"),
        freeze_hours=freeze_hours,
        public_percent=public_percent,
        releases_at=releases_at,
        release_after=reader.some_of("release_after", choices=OPENED),
        review_days=reader.number("review_days", least=1, most=LONGEST_REVIEW_DAYS),
        carry_over=carry_over,
        keep_images_days=reader.number("keep_images_days", least=0, most=LONGEST_KEPT_DAYS),
        keep_predictions_days=reader.number("keep_predictions_days", least=0, most=LONGEST_KEPT_DAYS),
        keep_logs_days=reader.number("keep_logs_days", least=0, most=LONGEST_KEPT_DAYS),
        is_anonymous=reader.flag("is_anonymous"),
        is_paused=reader.flag("is_paused"),
        is_archived=reader.flag("is_archived"),
        priority=reader.number("priority", least=-LARGEST_PRIORITY, most=LARGEST_PRIORITY) or 0,
        needs=reader.needs("needs"),
        max_image_bytes=reader.number("max_image_bytes", least=1, most=LARGEST_IMAGE_BYTES)
        or PhaseDefinition.max_image_bytes,
        embargo_until=embargo_until,
        is_embargoed=reader.flag("is_embargoed") or embargo_until is not None,
    )


def in_words(found: object) -> str:
    """What was found, cut before it is written out: the message goes to a page."""
    text = found if isinstance(found, str) else shown(found)
    text = UNSTORABLE.sub(lambda odd: repr(odd[0])[1:-1], text[: LONGEST_FOUND + 1])
    return text if len(text) <= LONGEST_FOUND else f"{text[:LONGEST_FOUND]}…"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A mapping of the document: its values, and where each of its keys stands."""

    document: Document
    path: Pointer = ()

    @classmethod
    def of_text(cls, source: str) -> "Reader":
        """The document's top mapping."""
        try:
            return cls(document=read_document(source))
        except DocumentError as error:
            raise InvalidError(
                _("The file cannot be read: %(found)s.") % {"found": error.found},
                code="invalid_yaml",
                found=error.found,
                expected=error.expected,
                line=error.line or None,
                column=error.column or None,
            ) from error

    @property
    def values(self) -> Mapping[str, Any]:
        value: Any = self.document.value
        for step in self.path:
            value = value[step]
        mapping: Mapping[str, Any] = value
        return mapping

    def has(self, key: str) -> bool:
        """Whether the key is there with a value."""
        return self.values.get(key) is not None

    def place(self, key: str) -> Place:
        """Where a key's value stands. The mapping itself when the key is missing."""
        return self.document.place((*self.path, key) if key else self.path)

    def key_place(self, key: str) -> Place:
        """Where a key itself stands."""
        return self.document.keys[(*self.path, key)]

    def error(
        self, message: str, *, code: str = "", key: str = "", found: object = "", expected: str = ""
    ) -> InvalidError:
        """An error at this key's line."""
        place = self.place(key)
        return InvalidError(
            message, code=code, found=in_words(found), expected=expected, line=place.line, column=place.column
        )

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """A misspelt key is an error: its value would be ignored silently."""
        for name in self.values:
            if name not in known:
                place = self.key_place(name)
                raise InvalidError(
                    _("The key %(name)s is not known here.") % {"name": repr(name[:SHOWN_CHARACTERS])},
                    found=in_words(name[:SHOWN_CHARACTERS]),
                    expected="one of " + ", ".join(sorted(known)),
                    line=place.line,
                    column=place.column,
                )

    def items(self, key: str) -> list["Reader"]:
        """A list of mappings."""
        items = self.values.get(key)
        if not isinstance(items, list):
            raise self.error(
                _("`%(key)s` is a list.") % {"key": key}, key=key, found=items, expected=f"{key}: [{{…}}, {{…}}]"
            )
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise self.error(
                    _("Item %(number)s of `%(key)s` is not a mapping.") % {"number": number + 1, "key": key},
                    key=key,
                    expected=_("{slug: …}"),
                )
        return [Reader(document=self.document, path=(*self.path, key, number)) for number in range(len(items))]

    def text(self, key: str, *, is_required: bool = False, longest: int = LONGEST_TEXT) -> str:
        """A text. Empty when missing. No control characters but tabs and line ends: PostgreSQL stores no NUL, pages show none."""
        value = self.values.get(key)
        if value in (None, "") and not is_required:
            return ""
        if not isinstance(value, str | int | float) or isinstance(value, bool) or not str(value).strip():
            raise self.error(_("`%(key)s` is a text.") % {"key": key}, key=key, found=value, expected=f"{key}: …")
        if (
            isinstance(value, int) and value.bit_length() > LONGEST_NUMBER_BITS
        ):  # longer ones Python refuses to write out
            raise self.error(
                _("`%(key)s` is a text.") % {"key": key},
                key=key,
                found=_("an endless number"),
                expected=_('%(key)s: "…" in quotes') % {"key": key},
            )
        text = str(value).strip()
        if len(text) > longest:
            raise self.error(
                _("`%(key)s` is too long.") % {"key": key},
                key=key,
                found=_("%(text)s characters") % {"text": len(text)},
                expected=f"{longest}",
            )
        if (odd := UNSTORABLE.search(text)) is not None:
            raise self.error(
                _("`%(key)s` has a character that cannot be stored.") % {"key": key}, key=key, found=repr(odd[0])
            )
        return text

    def slug(self, key: str) -> str:
        """A name as it appears in addresses."""
        value = self.text(key, is_required=True)
        if not set(value) <= SLUG_LETTERS or len(value) > 80:
            raise self.error(
                _("`%(key)s` appears in addresses.") % {"key": key},
                key=key,
                found=value,
                expected=_("a-z, 0-9 and '-', at most 80"),
            )
        return value

    def number(self, key: str, *, least: int, most: int = LARGEST_NUMBER) -> int | None:
        """A whole number that its column can hold."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.error(
                _("`%(key)s` is a whole number.") % {"key": key},
                key=key,
                found=value,
                expected=_("%(least)s to %(most)s") % {"least": least, "most": most},
            )
        return value

    def flag(self, key: str) -> bool:
        """Yes or no. No when missing."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(
                _("`%(key)s` is yes or no.") % {"key": key}, key=key, found=value, expected=_("true or false")
            )
        return value

    def choice(self, key: str, *, choices: tuple[str, ...]) -> str:
        """One of a closed list. The first when missing."""
        value = self.values.get(key, choices[0])
        if value not in choices:
            raise self.error(
                _("`%(key)s` is not one of the choices.") % {"key": key},
                key=key,
                found=value,
                expected=" or ".join(choices),
            )
        return str(value)

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names. Empty when missing."""
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
            raise self.error(
                _("`%(key)s` is a list of names.") % {"key": key},
                key=key,
                found=value,
                expected=_("%(key)s: [name, name]") % {"key": key},
            )
        return tuple(dict.fromkeys(value))

    def some_of(self, key: str, *, choices: tuple[str, ...]) -> tuple[str, ...]:
        """Some of a closed list. Empty when missing."""
        names = self.names(key)
        if wrong := [name for name in names if name not in choices]:
            raise self.error(
                _("`%(key)s` is not one of the choices.") % {"key": key},
                key=key,
                found=", ".join(wrong),
                expected=_("some of %(choices)s") % {"choices": ", ".join(choices)},
            )
        return names

    def divisions(self, key: str) -> tuple[str, ...]:
        """Names of divisions. Empty when missing. Two or more: one alone divides nothing."""
        names = self.names(key)
        short = all(name == name.strip() and len(name) <= LONGEST_DIVISION for name in names)
        if (names and not (short and 2 <= len(names) <= MOST_DIVISIONS)) or UNSTORABLE.search("".join(names)):
            raise self.error(
                _("`%(key)s` names the divisions that are ranked apart.") % {"key": key},
                key=key,
                found=list(names),
                expected=_("%(least)s to %(most)s names of at most %(longest)s characters")
                % {"least": 2, "most": MOST_DIVISIONS, "longest": LONGEST_DIVISION},
            )
        return names

    def needs(self, key: str) -> tuple[str, ...]:
        """What a node has to have. Empty when missing."""
        words = self.names(key)
        try:
            Needs.of(words)
        except ValueError as error:
            raise self.error(
                _("`%(key)s` names what a node has to have.") % {"key": key},
                key=key,
                found=str(error),
                expected=_("some of %(words)s, each once") % {"words": EXPECTED_NEEDS},
            ) from error
        return words

    def lines(self, key: str, *, most: int, longest: int) -> tuple[str, ...]:
        """A list of short texts. Empty when missing."""
        lines = tuple(line.strip() for line in self.names(key))
        if len(lines) > most or any(len(line) > longest or UNSTORABLE.search(line) for line in lines) or "" in lines:
            raise self.error(
                _("`%(key)s` is a list of short texts.") % {"key": key},
                key=key,
                found=list(lines),
                expected=_("at most %(most)s of at most %(longest)s characters") % {"most": most, "longest": longest},
            )
        return lines

    def agreements(self, key: str) -> dict[str, str]:
        """Name of a test set → text. Empty when missing."""
        value = self.values.get(key)
        if value is None:
            return {}
        texts: dict[Any, Any] = value if isinstance(value, dict) else {"": None}
        fits = all(
            isinstance(name, str) and name and set(name) <= SLUG_LETTERS and _is_text(text)
            for name, text in texts.items()
        )
        if not fits:
            raise self.error(
                _("`%(key)s` says for a test set what is signed before it is downloaded.") % {"key": key},
                key=key,
                found=value,
                expected=_("{name of a test set: text}"),
            )
        return {name: text.strip() for name, text in texts.items()}

    def zone(self, key: str) -> tzinfo:
        """A time zone; UTC when missing."""
        zone = zone_of(self.text(key) or "UTC")
        if zone is None:
            raise self.error(_("There is no such time zone."), key=key, found=self.text(key), expected=EXPECTED_ZONE)
        return zone

    def moment(self, key: str, *, zone: tzinfo = UTC, ends: bool = False) -> datetime | None:
        """A time. Without a zone it is in `zone`. A day without a time is its first moment, or (`ends`) its last."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            value = self._parsed(key, value)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time()) + timedelta(days=1 if ends else 0)
        if isinstance(value, datetime):
            value = value if value.tzinfo else value.replace(tzinfo=zone)
            if not is_in_range(value):
                raise self.error(
                    _("`%(key)s` is out of range.") % {"key": key}, key=key, found=value.isoformat(), expected=EXPECTED
                )
            return value.astimezone(UTC)
        raise self.error(_("`%(key)s` is a time.") % {"key": key}, key=key, found=value, expected=EXPECTED_TIME)

    def day(self, key: str) -> str:
        """A day, as ISO 8601 writes it. Empty when missing."""
        value = self.values.get(key)
        if value is None:
            return ""
        text = value.isoformat() if isinstance(value, date) else str(value)
        try:
            found = date.fromisoformat(text) if DAY.fullmatch(text) else None
        except ValueError:
            found = None
        if found is None or not FIRST_YEAR <= found.year <= LAST_YEAR:
            raise self.error(_("`%(key)s` is a day.") % {"key": key}, key=key, found=value, expected=EXPECTED_DAY)
        return text

    def _parsed(self, key: str, text: str) -> date:
        """A day (`2026-11-01`) or a time."""
        try:
            return date.fromisoformat(text) if len(text) == DAY_LENGTH else _time_of(text)
        except ValueError:
            raise self.error(
                _("`%(key)s` is a time.") % {"key": key}, key=key, found=text, expected=EXPECTED_TIME
            ) from None

    def protocol(self, source: str) -> tuple[Protocol, str] | None:
        """The protocol under this key and its text; `None` when there is none."""
        if not self.has("protocol"):
            return None
        place, value = self.place("protocol"), self.values["protocol"]
        if not isinstance(value, Mapping):
            raise self.error(
                _("`protocol` is a mapping."), key="protocol", found=value, expected=_("the document, or {use: NAME}")
            )
        indented = " " * (place.column - 1) + source[place.start : place.end]
        text = dedent(indented)
        try:
            if "use" in value:
                changes = {name: change for name, change in value.items() if name != "use"}
                protocol = load_protocol(
                    merged(load_named_protocol(str(value["use"])).document, changes), written=changes
                )
            else:
                protocol = load_protocol("\n" * (place.line - 1) + indented)
            check_work(protocol)
        except ProtocolError as error:
            line, column = (error.line, error.column) if error.line and "use" not in value else (0, 0)
            if not error.line:  # the place that was written, or the nearest around it
                steps = (int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", error.where))
                place = self.document.place((*self.path, "protocol", *steps))
            raise InvalidError(
                _("The protocol cannot be used: %(in_words)s.") % {"in_words": in_words(error.where)},
                code="invalid_protocol",
                found=in_words(error.found),
                expected=error.expected,
                line=line or place.line,
                column=column or place.column,
            ) from error
        return protocol, text


def _is_text(value: object) -> bool:
    """Whether it can be a Markdown text of ours."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and not UNSTORABLE.search(value)


def _time_of(text: str) -> datetime:
    """A time as ISO 8601 or YAML writes it. Raises `ValueError`."""
    loose = LOOSE_TIME.fullmatch(text)
    if loose is None:
        return datetime.fromisoformat(text)
    year, month, day, hour, minute, second, zone = loose.groups(default="")
    return datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute}:{second or '00'}{zone}")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping. Lists and values are replaced whole."""
    result = dict(base)
    for name, change in changes.items():
        below = result.get(name)
        if isinstance(change, Mapping) and isinstance(below, Mapping):
            result[name] = merged(below, change)
        else:
            result[name] = change
    return result
