"""Assay: the platform, its command and its Python client. `from assay import Client` reads like the command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.client.api import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    """Load the client only for those who use it: every other module of this package is imported through here."""
    if name not in __all__:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    from assay.client import api

    return getattr(api, name)
