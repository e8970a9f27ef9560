"""What a web server imports. All pages are loaded before the first request, or its sender would wait seconds for that."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")
application = get_wsgi_application()
get_resolver().url_patterns  # noqa: B018  looking at it imports every view
