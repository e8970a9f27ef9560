"""Django's settings. Every value that may differ between machines comes through `env.py`. The rest is the same everywhere."""

import os
from pathlib import Path

from assay.config import env
from assay.config.embedded import home_under
from assay.config.logging import logging_settings
from assay.config.secrets import secret_key

VAR = env.state_folder()
EMBEDDED_HOME = home_under(var=VAR)

DEBUG = env.flag(name="ASSAY_DEBUG", default=False)
SECRET_KEY = env.text(name="ASSAY_SECRET_KEY") or secret_key(folder=VAR / "keys")
ALLOWED_HOSTS = env.words(name="ASSAY_HOSTS", default="localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words(name="ASSAY_TRUSTED_ORIGINS")
PUBLIC_URL = env.text(name="ASSAY_PUBLIC_URL", default="http://localhost:8000")
IS_BEHIND_TLS = PUBLIC_URL.startswith("https://")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "assay.config.apps.Config",
    "assay.accounts",
    "assay.notices",
    "assay.challenges",
    "assay.testsets",
    "assay.submissions",
    "assay.runs",
    "assay.evaluations",
    "assay.leaderboards",
    "assay.workflow",
    "assay.evaluation_sites",
    "assay.pages",
    "assay.portal",
    "assay.organizers",
    "assay.api",
    "allauth",  # after our apps: our templates come first
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "assay.api.handshake.Handshake",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",  # the cookie of `/language/`, then what the browser asks for
    "django.middleware.common.CommonMiddleware",
    "assay.config.bodies.BoundedForms",  # before the next one, which reads the form
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "assay.pages.middleware.ContentSecurityPolicy",
    "assay.pages.middleware.SecondFactorOfOperators",
    "assay.pages.errors.RefusalsAsPages",
    "assay.pages.typed.TypedAgain",
    "assay.config.nul.RefuseNul",
]
CSRF_FAILURE_VIEW = "assay.pages.errors.stale_form"
ROOT_URLCONF = "assay.config.urls"
WSGI_APPLICATION = "assay.config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "assay.pages.context.theme",
                "assay.pages.context.script_words",
            ]
        },
    }
]
FORM_RENDERER = "django.forms.renderers.DjangoTemplates"

DATABASES = {
    "default": {
        **env.database(url=env.text(name="DATABASE_URL", default=EMBEDDED_HOME.database_url)),
        "ATOMIC_REQUESTS": True,  # an error never commits. See api/transactions.py for what is left out
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
}
REQUEST_SECONDS = env.number(name="ASSAY_REQUEST_SECONDS", default=20)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {  # shared by all processes: counters of doors that take secrets
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "assay_cache",
        "OPTIONS": {"MAX_ENTRIES": 200_000},
    },
    "process": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},  # counters of ordinary requests
}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["assay.accounts.sign_in.GuardedBackend"]
SIGN_IN_LIMITS = {"pair": (5, 5), "name": (30, 60), "address": (60, 15)}
"""By name and address together, by name, by address: how many failures within how many minutes."""
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
LANGUAGES = [("en-gb", "English"), ("de", "Deutsch")]  # each in its own words, for those who look for theirs
LOCALE_PATHS = [Path(__file__).resolve().parents[1] / "locale"]
FORMAT_MODULE_PATH = ["assay.config.formats"]
LANGUAGE_COOKIE_AGE = 365 * 86_400
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"

STATIC_URL = "/static/"
STATIC_ROOT = VAR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(VAR / "files")}},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
DOCS_FOLDER = env.folder(name="ASSAY_DOCS_FOLDER", default=VAR / "docs")
S3_BUCKET = env.text(name="ASSAY_S3_BUCKET")
if S3_BUCKET:
    STORAGES["default"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "endpoint_url": env.text(name="ASSAY_S3_ENDPOINT") or None,
            "default_acl": "private",
            "file_overwrite": False,
        },
    }
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
UPLOAD_ROOT = VAR / "uploads"
UPLOAD_LIFETIME_HOURS = env.number(name="ASSAY_UPLOAD_LIFETIME_HOURS", default=72)
UPLOAD_MAX_BYTES = env.number(name="ASSAY_UPLOAD_MAX_BYTES", default=60 * 2**30)
UPLOAD_KEEP_FREE_BYTES = env.number(name="ASSAY_UPLOAD_KEEP_FREE_BYTES", default=2 * 2**30)
PUBLICATION_NEEDS_APPROVAL = env.flag(name="ASSAY_PUBLICATION_NEEDS_APPROVAL", default=IS_BEHIND_TLS)
"""Whether the first publication of a challenge waits for an operator. Not on one machine for itself: its people are the operators."""
QUOTA_STORAGE_GIB = env.number(name="ASSAY_QUOTA_STORAGE_GIB", default=100)
QUOTA_DRAFTS = env.number(name="ASSAY_QUOTA_DRAFTS", default=20)
QUOTA_PUBLISHED = env.number(name="ASSAY_QUOTA_PUBLISHED", default=20)
QUOTA_RUN_HOURS = env.number(name="ASSAY_QUOTA_RUN_HOURS", default=500)
QUOTA_CHALLENGE_RUN_HOURS = env.number(name="ASSAY_QUOTA_CHALLENGE_RUN_HOURS", default=2000)
QUOTA_PERIOD_DAYS = env.number(name="ASSAY_QUOTA_PERIOD_DAYS", default=30)
ORIGIN_DAYS = env.number(name="ASSAY_ORIGIN_DAYS", default=30)
"""How long a submission keeps the keyed hash of its client's address. 0: it is never stored."""
OPERATORS_CONTACT = env.text(name="ASSAY_OPERATORS_CONTACT")

KEY_FOLDER = VAR / "keys"
SCRATCH_ROOT = VAR / "scratch"
SCRATCH_KEEP_BYTES = env.number(name="ASSAY_SCRATCH_KEEP_MB", default=20 * 1024) * 2**20
MACHINE_MEMORY_MB = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
DEMAND_COMMAND = env.text(name="ASSAY_DEMAND_COMMAND")
DEMAND_URL = env.text(name="ASSAY_DEMAND_URL")
SCORING_MEMORY_BYTES = env.number(name="ASSAY_SCORING_MEMORY_MB", default=MACHINE_MEMORY_MB * 3 // 4) * 2**20
METRIC_ENGINE = env.text(name="ASSAY_ENGINE", default="docker")
METRIC_ENGINE_SOCKET = env.text(name="ASSAY_ENGINE_SOCKET")

CELERY_BROKER_URL = env.text(name="BROKER_URL", default=EMBEDDED_HOME.broker_url)
if CELERY_BROKER_URL.startswith(
    "redis"
):  # one that hangs must not hold up the sender. RabbitMQ's client has its own limit
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "socket_timeout": 3.0,
        "socket_connect_timeout": 3.0,
        "queue_order_strategy": "priority",  # a worker of several queues takes from the first one named first
    }
TESTSET_FOLDER = env.text(name="ASSAY_TESTSET_FOLDER")
"""Where operators put test sets that are too large to upload: a folder per challenge."""
CELERY_TASK_ACKS_LATE = False  # a doorbell is answered or not. The reaper rings again for whatever still waits
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "workflow"
CELERY_TASK_DEFAULT_QUEUE_TYPE = CELERY_TASK_CREATE_MISSING_QUEUE_TYPE = "quorum"  # RabbitMQ's; Redis knows no types
CELERY_TASK_ROUTES = {
    "assay.workflow.tasks.build": {"queue": "scoring"},
    "assay.workflow.tasks.score": {"queue": "scoring"},
    "assay.workflow.tasks.self_test": {"queue": "scoring"},
    "assay.workflow.tasks.rebuild": {"queue": "ranking"},  # may take minutes: checks must not wait for it
    "assay.workflow.tasks.report": {"queue": "ranking"},
    "assay.workflow.tasks.prompt": {"queue": "prompts"},  # a GPU waits for these
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
LEASE_SECONDS = env.number(name="ASSAY_LEASE_SECONDS", default=60)
HEARTBEAT_SECONDS = env.number(name="ASSAY_HEARTBEAT_SECONDS", default=2)  # also how soon a cancel reaches a container
METRICS_TOKEN = env.text(name="ASSAY_METRICS_TOKEN")
REAPER_SECONDS = env.number(name="ASSAY_REAPER_SECONDS", default=15)
CELERY_BEAT_SCHEDULE = {
    "reap": {"task": "assay.workflow.tasks.reap", "schedule": REAPER_SECONDS},
    "tell_demand": {"task": "assay.workflow.tasks.tell_demand", "schedule": 60},
    "tidy": {"task": "assay.workflow.tasks.tidy", "schedule": 3600},
}
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR / "celerybeat-schedule")

NINJA_NUM_PROXIES = env.number(name="ASSAY_PROXIES", default=0)
API_THROTTLE = {
    "anonymous": env.text(name="ASSAY_THROTTLE_ANONYMOUS", default="120/m"),
    "user": env.text(name="ASSAY_THROTTLE_USER", default="1200/m"),
    "sign_in": env.text(name="ASSAY_THROTTLE_SIGN_IN", default="20/m"),
    "node": env.text(name="ASSAY_THROTTLE_NODE", default="6000/m"),
    "site": env.text(name="ASSAY_THROTTLE_SITE", default="1200/m"),
}

EMAIL_HOST = env.text(name="ASSAY_EMAIL_HOST")
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend" if EMAIL_HOST else "assay.accounts.mail.FolderBackend"
EMAIL_FILE_PATH = VAR / "mail"
EMAIL_PORT = env.number(name="ASSAY_EMAIL_PORT", default=25)
EMAIL_HOST_USER = env.text(name="ASSAY_EMAIL_USER")
EMAIL_HOST_PASSWORD = env.text(name="ASSAY_EMAIL_PASSWORD")
EMAIL_USE_TLS = env.flag(name="ASSAY_EMAIL_STARTTLS", default=False)
EMAIL_USE_SSL = env.flag(name="ASSAY_EMAIL_TLS", default=False)
EMAIL_TIMEOUT = 10  # a mail server that hangs must not hold a web process
DEFAULT_FROM_EMAIL = env.text(name="ASSAY_EMAIL_FROM", default="assay@localhost")
SHOWS_MAIL = env.flag(name="ASSAY_MAIL_PAGE", default=DEBUG) and not EMAIL_HOST
"""Whether `/dev/mail/` shows everybody the mails in `EMAIL_FILE_PATH`, with their links: for development only."""

WEBHOOK_NETWORKS = env.words(name="ASSAY_WEBHOOK_NETWORKS")
"""Private networks that webhooks may reach, such as `10.1.0.0/16`. Without it they reach the public internet alone."""

TRUSTED_REGISTRIES = env.words(name="ASSAY_TRUSTED_REGISTRIES")
"""Registries that images may be fetched from although their address is private, such as `registry.example.org:5000`. One that is asked
without TLS has `http://` in front. Without it, registries on the public internet alone are asked.
"""

ACCOUNT_ADAPTER = "assay.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_EMAIL_VERIFICATION = (
    "mandatory" if env.flag(name="ASSAY_VERIFY_ADDRESSES", default=bool(EMAIL_HOST)) else "none"
)
ACCOUNT_CHANGE_EMAIL = True  # one address. A new one replaces it once it is verified
ACCOUNT_EMAIL_SUBJECT_PREFIX = "Assay: "
ACCOUNT_EMAIL_NOTIFICATIONS = True  # the owner hears of every change of password or address
ACCOUNT_RATE_LIMITS = {
    "login": None,  # GuardedBackend limits these two, at every door
    "login_failed": None,
    "signup": "20/m/ip,300/d/ip",
    "reset_password": "20/m/ip,200/d/ip,5/h/key",  # each is a mail to an address that somebody typed
}
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # a stranger who finds a browser signed in changes no address
ACCOUNT_REAUTHENTICATION_METHODS = ["password", "mfa"]  # a mail alone removes no second factor

SIGN_IN_PROVIDERS = {  # by what stands in addresses; one without a client id is off
    "institution": {
        "title": env.text(name="ASSAY_OIDC_NAME", default="your institution"),
        "issuer": env.text(name="ASSAY_OIDC_ISSUER"),
        "client_id": env.text(name="ASSAY_OIDC_CLIENT_ID"),
        "client_secret": env.text(name="ASSAY_OIDC_CLIENT_SECRET"),
        "scope": "openid profile email",
    },
    "orcid": {
        "title": "ORCID",
        "issuer": env.text(name="ASSAY_ORCID_ISSUER", default="https://orcid.org"),
        "client_id": env.text(name="ASSAY_ORCID_CLIENT_ID"),
        "client_secret": env.text(name="ASSAY_ORCID_CLIENT_SECRET"),
        "scope": "openid",  # ORCID gives no addresses
    },
}

OPERATORS_NEED_SECOND_FACTOR = env.flag(name="ASSAY_OPERATORS_NEED_SECOND_FACTOR", default=IS_BEHIND_TLS)
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_ALLOW_UNVERIFIED_EMAIL = ACCOUNT_EMAIL_VERIFICATION == "none"
MFA_TOTP_ISSUER = "Assay"
MFA_FORMS = {
    "authenticate": "assay.accounts.code_forms.SignInCodeForm",
    "reauthenticate": "assay.accounts.code_forms.ConfirmCodeForm",
    "activate_totp": "assay.accounts.code_forms.NewFactorForm",
}

SECURE_SSL_REDIRECT = False  # the proxy in front of us redirects
SILENCED_SYSTEM_CHECKS = ["security.W008"]  # which asks for the redirect
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if IS_BEHIND_TLS else None
SECURE_HSTS_SECONDS = 31_536_000 if IS_BEHIND_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_BEHIND_TLS
SECURE_HSTS_PRELOAD = IS_BEHIND_TLS
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = IS_BEHIND_TLS
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 2**20

LOGGING = logging_settings(
    level=env.text(name="ASSAY_LOG_LEVEL", default="INFO"), form=env.text(name="ASSAY_LOG_FORMAT", default="line")
)
