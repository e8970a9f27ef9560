"""Which room answers which address."""

from django.contrib import admin
from django.urls import path

from assay.api.v1.router import api
from assay.config.health import healthz, readyz

urlpatterns = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]
