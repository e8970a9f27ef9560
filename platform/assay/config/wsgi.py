"""What a web server imports. All pages are loaded before the first request, or its sender would wait seconds for that."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")
pages = get_wsgi_application()
get_resolver().url_patterns  # noqa: B018  looking at it imports every view

from django.conf import settings  # noqa: E402  settings are chosen above

from assay.config.deadlines import Deadlines  # noqa: E402  settings are chosen above

settings.DATABASES["default"]["OPTIONS"]["options"] = f"-c statement_timeout={settings.REQUEST_SECONDS}s"
application = Deadlines(pages, limit_seconds=settings.REQUEST_SECONDS)
