"""Django's settings; every value that may differ between machines comes through `env.py`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SECRET_KEY = "x"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "assay"}}
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "assay.accounts",
    "assay.challenges",
    "assay.testsets",
    "assay.submissions",
    "assay.runs",
    "assay.evaluations",
    "assay.leaderboards",
    "assay.evaluation_sites",
]
AUTH_USER_MODEL = "accounts.User"
USE_TZ = True
TIME_ZONE = "UTC"
SILENCED_SYSTEM_CHECKS = ["admin.E403", "admin.E408", "admin.E409", "admin.E410"]
