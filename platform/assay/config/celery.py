"""The Celery application. Messages are doorbells: they carry ids, may be lost, doubled, late or reordered, and nothing breaks."""

import gc
import os

from celery import Celery
from celery.signals import worker_before_create_process

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")

app = Celery("assay")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["assay.workflow"])


def share_with_children(**_: object) -> None:
    """Keep a child's garbage collections off what its parent loaded: looking at an object writes to its page, which copies it."""
    gc.freeze()


worker_before_create_process.connect(share_with_children)
