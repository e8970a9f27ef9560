"""Which room answers which address."""

from django.contrib import admin
from django.urls import path

from assay.api.v1.router import api

urlpatterns = [
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]
