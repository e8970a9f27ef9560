"""`/metrics` for Prometheus, to a client that sends ASSAY_METRICS_TOKEN. Without such a token in the settings there is no such page."""

import hmac

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from assay.workflow.operations.measurements import exposition

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """The state of the machinery in numbers."""
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not settings.METRICS_TOKEN or not hmac.compare_digest(sent.encode(), settings.METRICS_TOKEN.encode()):
        raise Http404
    return HttpResponse(exposition(now=timezone.now()), content_type=CONTENT_TYPE)
