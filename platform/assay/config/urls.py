"""Which room answers which address."""

from django.contrib import admin
from django.urls import include, path, re_path

from assay.api.errors import no_such_address
from assay.api.transactions import routes
from assay.api.v1.router import api
from assay.config.health import healthz, readyz
from assay.config.metrics import metrics

urlpatterns = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("api/v1/", routes(api)),
    re_path("^api/", no_such_address),
    path("admin/", admin.site.urls),
    path("", include("assay.organizers.urls")),
    path("", include("assay.portal.urls")),
    path("", include("assay.portal.account_urls")),
]
handler400 = "assay.pages.errors.bad_request"
handler403 = "assay.pages.errors.forbidden"
handler404 = "assay.pages.errors.not_found"
handler429 = "assay.pages.errors.too_many"
handler500 = "assay.pages.errors.server_error"
