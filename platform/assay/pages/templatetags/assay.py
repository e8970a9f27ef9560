"""How values look on our pages: moments with zone and relative time, durations, sizes, numbers, statuses."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext, pgettext
from django.utils.translation import gettext_lazy as _

from assay.accounts.models import User
from assay.challenges.access import parts_of
from assay.challenges.models import Challenge, Phase
from assay.challenges.texts import with_pictures as pictures_at
from assay.notices.selectors import unread_count
from assay.pages.windows import window_status
from assay.verdict_words import VERDICTS, verdict_words

register = template.Library()
register.filter(verdict_words)

GLYPHS = {
    "received": "○", "checking": "◔", "queued": "◷", "waiting": "◷", "pending": "◷", "running": "◑", "scoring": "◕", "review": "◕",
    "done": "✓", "ok": "✓", "accepted": "✓", "released": "✓", "active": "✓", "published": "✓", "open": "✓", "upheld": "✓",
    "failed": "✗", "rejected": "✗", "declined": "✗", "banned": "✗", "quarantined": "✗",
    "cancelled": "⊘", "removed": "⊘", "closed": "⊘", "archived": "⊘",
}  # fmt: skip
TONES = {
    "done": "good", "ok": "good", "accepted": "good", "released": "good", "active": "good", "published": "good",
    "open": "good", "upheld": "good", "failed": "bad", "rejected": "bad", "declined": "bad", "banned": "bad", "quarantined": "bad",
    "running": "live", "scoring": "live", "checking": "live",
}  # fmt: skip
STATUSES = {
    "received": _("received"), "checking": _("checking"), "queued": _("queued"), "waiting": _("waiting"),
    "running": _("running"), "scoring": _("scoring"), "review": _("review"), "done": _("done"), "failed": _("failed"),
    "cancelled": _("cancelled"), "draft": _("draft"), "published": _("published"), "archived": _("archived"),
    "upcoming": _("upcoming"), "open": _("open"), "paused": _("paused"), "closed": _("closed"), "pending": _("pending"),
    "accepted": _("accepted"), "rejected": _("rejected"), "banned": _("banned"), "organizer": _("organizer"),
    "participant": _("participant"), "editor": _("editor"), "reviewer": _("reviewer"),
    "active": _("active"), "draining": _("draining"), "removed": _("removed"),
    "quarantined": _("quarantined"), "released": _("released"), "declined": _("declined"),
    "cannot be read": _("cannot be read"), "upheld": _("upheld"),
}  # fmt: skip


@register.filter
def status_words(status: str) -> str:
    """A status or a role as people read it."""
    return str(STATUSES.get(status, status.replace("_", " ")))


@register.filter
def window_status_at(phase: Phase, now: datetime) -> str:
    """Where the phase is in its life at this moment, as `chip` takes it."""
    return window_status(phase, now=now)


@register.filter
def kind_words(kind: str) -> str:
    """What a phase takes, as people read it."""
    return str({"container": _("Container"), "predictions": _("Predictions")}.get(kind, kind))


@register.filter
def shows_words(rule: str) -> str:
    """Which of a team's submissions a leaderboard shows."""
    words = {
        "best": _("each team's best submission"),
        "latest": _("each team's latest submission"),
        "all": _("all submissions"),
        "chosen": _("the submission each team chooses, its latest where it chooses none"),
    }
    return str(words.get(rule, rule))


@register.filter
def which_words(which: str) -> str:
    """Which of a team's submissions are meant."""
    words = {
        "best": _("its best by the leaderboard"),
        "chosen": _("the one it chose, its latest where it chose none"),
        "all": _("all that were scored"),
    }
    return str(words.get(which, which))


@register.filter
def opened_words(opened: list[str]) -> str:
    """What the release of a phase opens, as people read it."""
    words = {
        "boards": _("the leaderboard"),
        "cases": _("single cases"),
        "submissions": _("everybody's submissions"),
        "reports": _("the statistics report"),
    }
    return ", ".join(str(words.get(name, name)) for name in opened)


@register.simple_tag
def unread_notices(user: User) -> int:
    """How many notices somebody has not read. One query."""
    return unread_count(user)


@register.simple_tag
def chip(status: str, words: str = "") -> SafeString:
    """A status as text, glyph and colour together, so that none of the three is needed alone."""
    tone = TONES.get(status, "calm" if status in GLYPHS else "bad")
    label = words or (STATUSES if status in STATUSES else VERDICTS).get(status) or status.replace("_", " ")
    return format_html(
        '<span class="chip {}"><span aria-hidden="true">{}</span> {}</span>', tone, GLYPHS.get(status, "•"), label
    )


@register.simple_tag
def membership_chip(status: str) -> SafeString:
    """What organizers have decided about the reader's part in a challenge."""
    words = {
        "accepted": _("you take part"),
        "pending": _("waits for approval"),
        "rejected": _("not accepted"),
        "banned": _("excluded"),
    }
    return chip(status, str(words[status]))


@register.simple_block_tag
def table(content: str, label: str, kind: str = "") -> SafeString:
    """`{% table "Nodes" %}<thead>…</tbody>{% endtable %}`: scrolls by itself where it is too wide, also by keyboard."""
    return format_html(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table{}>{}</table></div>',
        label,
        format_html(' class="{}"', kind) if kind else "",
        content,
    )


@register.simple_block_tag
def confirm(content: str, words: str, follows: str) -> SafeString:
    """`{% confirm _("Revoke") _("What uses it …") %}<form>…{% endconfirm %}`: two clicks, and first what follows from the second."""
    return format_html(
        '<details class="confirm"><summary>{}</summary><p class="quiet small">{}</p>{}</details>',
        words,
        follows,
        content,
    )


@register.simple_tag(takes_context=True)
def tab(context: dict[str, object], words: str, name: str, address: str, *arguments: str) -> SafeString:
    """A link of a page's tabs, marked where the page says `tab` is this one."""
    current = mark_safe(' aria-current="page"') if context.get("tab") == name else ""
    return format_html('<a href="{}"{}>{}</a>', reverse(address, args=arguments), current, words)


@register.simple_tag
def side(letter: str) -> SafeString:
    """The coloured dot and the letter of one side of a comparison."""
    return format_html('<span class="dot {}" aria-hidden="true">●</span> {}', letter.lower(), letter)


@register.simple_tag
def mean(value: float | None, sd: float | None, *, is_best: bool = False) -> SafeString:
    """A mean, and its standard deviation where there is one."""
    shown = format_html("<strong>{}</strong>" if is_best else "{}", score(value))
    return shown if sd is None else format_html('{} <span class="quiet">± {}</span>', shown, score(sd))


@register.filter
def duration(value: float | timedelta | None) -> str:
    """Seconds in words a person says: 4.2 s, 3 min 20 s, 2 h 5 min, 3 days 4 h."""
    if value is None:
        return "–"
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 0:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min" + (f" {rest} s" if rest and minutes < 10 else "")
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    days, hours = divmod(hours, 24)
    return _days(days) + (f" {hours} h" if hours and days < 7 else "")


def _days(count: int) -> str:
    return ngettext("%(count)d day", "%(count)d days", count) % {"count": count}


def relative(moment: datetime, now: datetime) -> str:
    """`in 3 h` or `12 min ago`."""
    gap = (moment - now).total_seconds()
    if abs(gap) < 5:
        return gettext("now")
    days = int(abs(gap) // 86400)
    if days and gap > 0:
        return ngettext("in %(count)d day", "in %(count)d days", days) % {"count": days}
    if days:
        return ngettext("%(count)d day ago", "%(count)d days ago", days) % {"count": days}
    return (gettext("in %(time)s") if gap > 0 else gettext("%(time)s ago")) % {"time": _roughly(abs(gap))}


def _roughly(seconds: float) -> str:
    """Less than a day in one unit, rounded down: what a person needs of a distance in time."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.0f} s"


@register.simple_tag
def moment(value: datetime | None, missing: str = "–") -> SafeString | str:
    """Absolute with zone and relative at once. The browser adds the viewer's own zone as a tooltip."""
    if value is None:
        return missing
    here = timezone.localtime(value)
    written = pgettext("how a moment is written, in Django's letters", "D j M Y, H:i")
    return format_html(
        '<time datetime="{}">{} <span class="quiet">({})</span></time>',
        value.isoformat(),
        f"{date_format(here, written)} {here.tzname()}",
        relative(value, timezone.now()),
    )


@register.simple_tag
def ago(value: datetime | None, missing: str = "–") -> SafeString | str:
    """Relative only, for tables. The absolute time is in the tooltip."""
    if value is None:
        return missing
    here = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        f"{here:%Y-%m-%d %H:%M} {here.tzname()}",
        relative(value, timezone.now()),
    )


@register.filter
def in_bytes(value: float | None) -> str:
    """A size in binary units, as memory limits are given."""
    if value is None:
        return "–"
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


@register.filter
def quantity(value: float) -> str:
    """An amount: one decimal while it is small, groups of three digits when it is large."""
    return f"{value:.1f}" if value < 100 and value != round(value) else f"{value:,.0f}"


@register.filter
def digits(value: float) -> str:
    """A number in three digits. What is none is a dash."""
    return f"{value:.3g}" if math.isfinite(value) else "–"


@register.filter
def with_pictures(html: str, slug: str) -> SafeString:
    """Organizers' text as `challenges/texts.py` rendered it, with the challenge's own pictures."""
    address = reverse("portal:picture", args=[slug, "x"]).removesuffix("x/")
    return mark_safe(pictures_at(html, address=address))  # noqa: S308  # made safe when it was rendered


@register.simple_tag(takes_context=True)
def parts(context: dict[str, object], challenge: Challenge) -> frozenset[str]:
    """What the reader does for the challenge: organize, edit, review."""
    person = context["user"]
    if not isinstance(person, User):
        return frozenset()
    return parts_of(person=person, challenge=challenge)


@register.filter
def code_spans(text: str) -> SafeString:
    """A sentence of ours whose parts between backticks are code."""
    parts = enumerate(text.split("`"))
    return format_html_join("", "{}", ((format_html("<code>{}</code>", part) if n % 2 else part,) for n, part in parts))


@register.filter
def score(value: float | None, digits: int = 3) -> str:
    """A metric value. An undefined one says so and is never shown as 0 or blank."""
    return gettext("undefined") if value is None else f"{value:.{digits}f}"


@register.filter
def signed(value: float, digits: int = 3) -> str:
    """A difference, with its sign. 0 has none."""
    return f"{value:.{digits}f}" if round(value, digits) == 0 else f"{value:+.{digits}f}".replace("-", "−")


@register.filter
def p_value(value: float | None) -> str:
    """A p-value as people read it. Nothing to test is a dash."""
    return "–" if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"


@register.filter
def at(values: Sequence[object], place: int) -> object:
    """`values[place]`: templates have no subscript."""
    return values[place]


@register.filter
def short(digest: str) -> str:
    """The first twelve characters of a digest."""
    return digest.removeprefix("sha256:")[:12]


@register.filter
def middle(name: str, length: int = 40) -> str:
    """A file name cut in the middle: its end says what it is."""
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


@register.filter
def item(mapping: dict[str, object], key: str) -> object:
    """`mapping[key]`, or None: templates have no subscript."""
    return mapping.get(key) if isinstance(mapping, dict) else None


@register.simple_tag(takes_context=True)
def query(context: dict[str, object], **changes: str | None) -> str:
    """This page's query string with some keys changed or (None) removed: filters live in the URL."""
    parameters = context["request"].GET.copy()  # type: ignore[attr-defined]  # the request context processor is always on
    for key, value in changes.items():
        parameters.pop(key, None) if value is None else parameters.__setitem__(key, value)
    encoded: str = parameters.urlencode()
    return f"?{encoded}" if encoded else "?"
