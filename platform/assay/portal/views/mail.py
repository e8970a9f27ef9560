"""The mails that were written into a folder, for development."""

from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from assay.accounts.mail import read_mails

MOST = 50


def mails(request: HttpRequest) -> HttpResponse:
    """The newest mails with their links. Raises Http404 on every other installation: their readers can take over accounts."""
    if not settings.SHOWS_MAIL:
        raise Http404
    folder = Path(settings.EMAIL_FILE_PATH)
    return render(request, "portal/mails.html", {"mails": read_mails(folder, most=MOST), "folder": folder})
