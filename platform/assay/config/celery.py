"""The Celery application. Messages are doorbells: they carry ids, may be lost, doubled, late or reordered, and nothing breaks."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")

app = Celery("assay")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["assay.workflow"])
