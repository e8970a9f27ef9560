"""System checks (`manage.py check`): what would go wrong later, said early, with what to do about it."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  Django's own name for it


@register()
def check_lease(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001  Django's signature
    """A lease must outlive a few lost heartbeats."""
    if settings.LEASE_SECONDS >= 3 * settings.HEARTBEAT_SECONDS:
        return []
    return [
        Error(
            f"ASSAY_LEASE_SECONDS ({settings.LEASE_SECONDS}) is less than three heartbeats ({settings.HEARTBEAT_SECONDS} s each).",
            hint="One late heartbeat would lose a healthy run. Lengthen the lease or shorten the heartbeat.",
            id="assay.E002",
        )
    ]


@register(Tags.security, deploy=True)
def check_public_url(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001  Django's signature
    """Tokens and hidden files travel over this address."""
    if settings.PUBLIC_URL.startswith(("https://", "http://localhost", "http://127.0.0.1")):
        return []
    return [
        Warning(
            f"ASSAY_PUBLIC_URL is {settings.PUBLIC_URL}, which is not encrypted.",
            hint="Put a proxy with a certificate in front and set ASSAY_PUBLIC_URL to its https:// address.",
            id="assay.W003",
        )
    ]
