"""Metric images: organizers bring their own metrics as a container image, and name it in a protocol's `evaluation`."""

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from assay.api.auth import person_of
from assay.api.transactions import TAKES_LONG
from assay.api.v1 import schemas
from assay.challenges.access import get_organized_challenge
from assay.evaluations.models import MetricImage
from assay.evaluations.selectors import metric_images_of
from assay.submissions.access import get_upload
from assay.workflow.workers.metric_images import take_metric_image

router = Router()


@router.get("/{slug}/metric-images", response=list[schemas.MetricImageOut])
def list_metric_images(request: HttpRequest, slug: str) -> list[MetricImage]:
    """The challenge's metric images, newest first."""
    challenge, _ = get_organized_challenge(person=person_of(request), slug=slug)
    return metric_images_of(challenge=challenge)


@router.post("/{slug}/metric-images", response={201: schemas.MetricImageOut})
def push(request: HttpRequest, slug: str, body: schemas.MetricImageIn) -> Status[MetricImage]:
    """Take in an uploaded archive. The answer's `image_id` is what a protocol writes under `evaluation: {image: …}`."""
    challenge, user = get_organized_challenge(person=person_of(request), slug=slug)
    upload = get_upload(person=user, upload_id=body.upload_id)
    request.META[TAKES_LONG] = True
    return Status(201, take_metric_image(challenge=challenge, user=user, upload=upload, now=timezone.now()))
