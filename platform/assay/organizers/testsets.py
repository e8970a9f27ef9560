"""Test sets in the browser: what they hold, what was checked, and how one is added, from an archive or from the server's disk."""

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from assay.accounts.errors import AssayError, InvalidError, NotFoundError
from assay.challenges.access import get_organized_challenge, get_phase, signed_in
from assay.challenges.models import Challenge
from assay.organizers.archives import uploaded_archive
from assay.organizers.consoles import testset_rows
from assay.organizers.histograms import histograms_of
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.pages.typed import again
from assay.submissions.models import Upload
from assay.submissions.testset_pushing import push_testset
from assay.testsets.archives import server_folder, server_folders
from assay.testsets.manifest import NAME
from assay.testsets.services import choose_testset

EXPECTED = "a .zip, .tar or .tar.gz with a manifest.csv"


@transaction.non_atomic_requests  # files are checked for minutes. The service has a transaction of its own
def testsets(request: HttpRequest, slug: str) -> HttpResponse:
    """Test sets: what they hold, what was checked, and a way to add one. What was typed and uploaded stays after a refusal."""
    challenge, _ = get_organized_challenge(person=request.user, slug=slug)
    page = frame(challenge, tab="testsets", phases=challenge.phases.all())
    status, kept = 200, {name: str(text) for name, text in (again(request) or QueryDict()).items()}
    if request.method == "POST":
        kept = {}
        try:
            upload = None if request.POST.get("choose") else _archive(request)
            kept["upload_id"] = str(upload.pk) if upload else ""
            _change(request, challenge, upload=upload)
        except AssayError as error:
            if error.code == "testset_identifying" or "accepts_identifying" in request.POST:
                kept["asks_identifying"] = "yes"
            status = refuse(request, error, also=kept)
        else:
            return redirect("organizers:testsets", slug)
    page |= {name: kept.get(name, "") for name in ("upload_id", "asks_identifying")}
    page["testsets"] = [(*row, histograms_of(row.testset.report)) for row in testset_rows(challenge)]
    page["server_folders"] = server_folders(slug)
    return render(request, "organizers/testsets.html", page, status=status)


def _archive(request: HttpRequest) -> Upload | None:
    """What came with the form. None where a folder of the server is named instead."""
    if request.POST.get("server_folder"):
        return None
    return uploaded_archive(request, purpose=Upload.Purpose.TESTSET, expected=EXPECTED)


def _change(request: HttpRequest, challenge: Challenge, *, upload: Upload | None) -> None:
    user, now, form = signed_in(request.user), timezone.now(), request.POST
    if form.get("choose"):
        phase = get_phase(person=user, challenge_slug=challenge.slug, phase_slug=form.get("phase", ""))
        number = form["choose"]
        testset = challenge.testsets.filter(pk=number).first() if number.isdecimal() else None
        if testset is None:
            raise NotFoundError(gettext("There is no such test set."))
        choose_testset(phase=phase, testset=testset, user=user, now=now)
        return
    name = form.get("name", "")
    if not NAME.fullmatch(name):
        raise InvalidError(
            gettext("A test set needs a name."),
            found=name[:80],
            expected=gettext("a-z, 0-9 and hyphens, at most 80"),
            field="name",
        )
    request.META["assay.takes_long"] = True  # see config/deadlines.py
    testset = push_testset(
        challenge=challenge,
        user=user,
        upload=upload,
        name=name,
        is_public=bool(form.get("is_public")),
        phase_slugs=[slug for slug in [form.get("phase", "")] if slug],
        now=now,
        accepts_identifying=bool(form.get("accepts_identifying")),
        folder_on_server=None if upload else server_folder(form["server_folder"], challenge_slug=challenge.slug),
    )
    count = testset.cases.count()
    said = ngettext("%(count)s case was checked and added.", "%(count)s cases were checked and added.", count)
    messages.success(request, said % {"count": count})
