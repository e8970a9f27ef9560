"""The operators' page about the machine: what runs, how full it is, what waits, and the last day in pictures."""

import shutil
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import django
from cryptography import x509
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.models import Avg, Count, F, Q
from django.db.models.functions import TruncHour
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from assay.challenges.access import require_staff
from assay.notices.selectors import mail_queue
from assay.pages import svg
from assay.pages.templatetags.assay import duration, in_bytes
from assay.runs.models import CaseRun
from assay.submissions.models import Submission
from assay.testsets.storage import free_bytes, try_storage
from assay.workflow.flow.doorbells import try_broker
from assay.workflow.operations.backups import last_backup

HOURS = 24
CONNECT_SECONDS = 3.0
CERTIFICATE_KEPT_SECONDS = 3600
SOON_DAYS = 14
WIDTH, HEIGHT = 240, 60


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the installation: how it is, in words."""

    name: str
    is_well: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One number per hour of the last day."""

    title: str
    picture: SafeString
    words: str


def server(request: HttpRequest) -> HttpResponse:
    """Parts, versions and charts."""
    require_staff(person=request.user)
    now = timezone.now()
    parts = [_database(), _broker(), _storage(), _disk(), _mail(now), _backup(now), _certificate(now)]
    page = {"parts": parts, "versions": _versions(), "charts": charts_of(now=now)}
    page["is_well"] = all(part.is_well for part in parts)
    return render(request, "organizers/server.html", page)


def _database() -> Part:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_database_size(current_database()), count(*), current_setting('max_connections')::int "
            "FROM pg_stat_activity WHERE datname = current_database()"
        )
        size, used, most = cursor.fetchone()
    words = _("%(size)s, %(used)s of %(most)s connections") % {"size": in_bytes(size), "used": used, "most": most}
    return Part(name=_("Database"), is_well=used < 0.9 * most, words=words)


def _fault_of(ask: Callable[[], object]) -> str:
    """Why a part does not answer, in words. Empty where it does."""
    try:
        ask()
    except Exception as error:  # noqa: BLE001  whatever a driver raises, the part is down
        return _("away: %(error)s") % {"error": type(error).__name__}
    return ""


def _broker() -> Part:
    fault = _fault_of(try_broker)
    return Part(name=_("Broker"), is_well=not fault, words=fault or _("answers"))


def _storage() -> Part:
    if fault := _fault_of(try_storage):
        return Part(name=_("Storage"), is_well=False, words=fault)
    free = free_bytes()
    words = _("answers") if free is None else _("answers, %(free)s free") % {"free": in_bytes(free)}
    return Part(name=_("Storage"), is_well=True, words=words)


def _disk() -> Part:
    disk = shutil.disk_usage(settings.VAR)
    words = _("%(free)s of %(total)s free") % {"free": in_bytes(disk.free), "total": in_bytes(disk.total)}
    return Part(name=_("Server's disk"), is_well=disk.free > settings.UPLOAD_KEEP_FREE_BYTES, words=words)


def _mail(now: datetime) -> Part:
    queue = mail_queue()
    words = _("%(waiting)s waiting, %(given_up)s given up") % {"waiting": queue.waiting, "given_up": queue.given_up}
    if queue.oldest:
        words += ", " + _("the oldest since %(time)s") % {"time": duration(now - queue.oldest)}
    if queue.last_error:
        words += f" ({queue.last_error[:120]})"
    is_well = not queue.given_up and (queue.oldest is None or now - queue.oldest < timedelta(hours=1))
    return Part(name=_("Mail"), is_well=is_well, words=words)


def _backup(now: datetime) -> Part:
    found = last_backup()
    if found is None:
        return Part(name=_("Last backup"), is_well=False, words=_("none was made on this machine: `assay backup make`"))
    at, folder = found
    words = _("%(time)s ago, in %(folder)s") % {"time": duration(now - at), "folder": folder}
    return Part(name=_("Last backup"), is_well=now - at < timedelta(days=2), words=words)


def _certificate(now: datetime) -> Part:
    address = urlsplit(settings.PUBLIC_URL)
    if address.scheme != "https":
        return Part(name=_("Certificate"), is_well=True, words=_("none: the public address is no https://"))
    host, port = address.hostname or "", address.port or 443
    ends = cache.get_or_set(
        f"certificate:{host}:{port}", lambda: certificate_ends(host, port), CERTIFICATE_KEPT_SECONDS
    )
    if not ends:
        return Part(name=_("Certificate"), is_well=False, words=_("%(host)s does not show one") % {"host": host})
    days = (datetime.fromisoformat(ends) - now).days
    return Part(name=_("Certificate"), is_well=days >= SOON_DAYS, words=_("%(days)s days left") % {"days": days})


def certificate_ends(host: str, port: int) -> str:
    """When the certificate at this address ends, as ISO text. Empty where none can be had."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only its end is read
    try:
        with (
            socket.create_connection((host, port), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            shown = wrapped.getpeercert(binary_form=True)
    except OSError:
        return ""
    return x509.load_der_x509_certificate(shown).not_valid_after_utc.isoformat() if shown else ""


def _versions() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        postgres = cursor.fetchone()[0]
    return [
        ("Assay", version("assay")),
        ("Python", sys.version.split()[0]),
        ("Django", django.get_version()),
        ("PostgreSQL", str(postgres)),
    ]


def charts_of(*, now: datetime) -> list[Chart]:
    """Submissions, cases, failures and waits by hour. Two queries."""
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    hours = [first + timedelta(hours=number) for number in range(HOURS)]
    arrived = (
        Submission.objects.filter(created_at__gte=first).order_by().annotate(hour=TruncHour("created_at", tzinfo=UTC))
    )
    received = dict(arrived.values_list("hour").annotate(total=Count("pk")))
    ended = CaseRun.objects.filter(finished_at__gte=first, kept_from=None).order_by()
    rows = ended.annotate(hour=TruncHour("finished_at", tzinfo=UTC)).values("hour").annotate(
        done=Count("pk", filter=Q(status=CaseRun.Status.DONE)),
        failed=Count("pk", filter=Q(status=CaseRun.Status.FAILED)),
        wait=Avg(F("started_at") - F("queued_at")),
    )  # fmt: skip
    by_hour: dict[datetime, Mapping[str, Any]] = {row["hour"]: row for row in rows}

    def column(name: str) -> list[float]:
        return [float(by_hour.get(hour, {}).get(name) or 0) for hour in hours]

    waits = [found.total_seconds() if (found := by_hour.get(hour, {}).get("wait")) else 0.0 for hour in hours]
    return [
        _chart(_("Submissions"), [float(received.get(hour, 0)) for hour in hours]),
        _chart(_("Cases that ended well"), column("done")),
        _chart(_("Cases that failed"), column("failed")),
        _chart(_("Mean wait of a case in seconds"), waits),
    ]


def _chart(title: str, values: Sequence[float]) -> Chart:
    high = max(values) or 1.0
    width = WIDTH / len(values)
    bars = [
        svg.named(
            "rect",
            words=f"{value:g}",
            x=place * width,
            y=HEIGHT * (1 - value / high),
            width=width - 1,
            height=HEIGHT * value / high,
        )
        for place, value in enumerate(values)
    ]
    words = _("%(title)s by hour: at most %(high)s, now %(now)s") % {
        "title": title, "high": f"{max(values):g}", "now": f"{values[-1]:g}",
    }  # fmt: skip
    picture = svg.picture(*bars, words=words, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="histogram")
    return Chart(title=title, picture=picture, words=words)
