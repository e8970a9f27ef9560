"""Everything of a challenge, as one zip."""

import tempfile
from typing import IO

from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from assay.accounts.audit import record_event
from assay.challenges.access import get_organized_challenge
from assay.leaderboards.archive import write_archive
from assay.organizers.views import frame

IN_MEMORY = 8 * 2**20


def export(request: HttpRequest, slug: str) -> HttpResponse | FileResponse:
    """Say what would be in it. The button brings the zip."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    if request.method != "POST":
        return render(request, "organizers/export.html", frame(challenge, tab="export"))
    now = timezone.now()
    request.META["assay.takes_long"] = True  # see config/deadlines.py
    out: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # the answer closes it once it has been read
    write_archive(challenge=challenge, out=out, now=now)
    size = out.tell()
    out.seek(0)
    record_event(
        actor=user, verb="challenge.exported", subject=challenge, challenge_slug=challenge.slug, now=now, bytes=size
    )
    return FileResponse(out, as_attachment=True, filename=f"{challenge.slug}-{now:%Y-%m-%d}.zip")
