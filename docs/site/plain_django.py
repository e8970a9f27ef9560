"""Some of the texts we show are marked for translation: Django has to know which language to use. No database is needed."""

from django.conf import settings


def configure() -> None:
    """English, where nobody has configured Django yet."""
    if not settings.configured:
        settings.configure(USE_I18N=False)
