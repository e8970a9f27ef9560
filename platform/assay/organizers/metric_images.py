"""The organizers' own metrics: the images that were pushed, which phases score with them, and a way to push one."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from assay.accounts.errors import AssayError
from assay.challenges.access import get_organized_challenge
from assay.challenges.models import Challenge
from assay.challenges.protocols import rules_of
from assay.evaluations.pushing import missing_metric_images
from assay.evaluations.selectors import metric_images_of
from assay.organizers.archives import uploaded_archive
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.submissions.models import Upload
from assay.workflow.workers.metric_images import take_metric_image


@transaction.non_atomic_requests  # an archive is checked for minutes. The service has a transaction of its own
def metric_images(request: HttpRequest, slug: str) -> HttpResponse:
    """List them, say what is missing, take one in."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    page = frame(challenge, tab="metrics")
    status = 200
    if request.method == "POST":
        try:
            upload = uploaded_archive(request, purpose=Upload.Purpose.IMAGE, expected="what `docker save` wrote")
            request.META["assay.takes_long"] = True  # see config/deadlines.py
            take_metric_image(challenge=challenge, user=user, upload=upload, now=timezone.now())
        except AssayError as error:
            status = refuse(request, error)
        else:
            return redirect("organizers:metric-images", slug)
    users = phases_by_image(challenge)
    page["images"] = [(image, users.get(image.image_id, [])) for image in metric_images_of(challenge=challenge)]
    page["missing"] = missing_metric_images(challenge)
    return render(request, "organizers/metric_images.html", page, status=status)


def phases_by_image(challenge: Challenge) -> dict[str, list[str]]:
    """Image ID → titles of the phases whose protocol names it."""
    found: dict[str, list[str]] = {}
    for phase in challenge.phases.select_related("protocol"):
        if wanted := rules_of(phase.protocol).evaluation:
            found.setdefault(wanted.image, []).append(phase.title)
    return found
