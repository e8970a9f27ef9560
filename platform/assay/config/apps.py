from django.apps import AppConfig


class Config(AppConfig):
    """Loads Celery with Django, so that `shared_task` finds its application, and the system checks."""

    name = "assay.config"
    label = "config"

    def ready(self) -> None:
        from assay.accounts.admin import hide_second_factors  # after allauth has registered its own
        from assay.config import celery, checks  # noqa: F401  Django's registry is ready only now

        hide_second_factors()
