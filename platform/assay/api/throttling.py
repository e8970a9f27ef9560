"""How many requests one person or one address may send. The submission limit is something else: see `submissions/limits.py`."""

from typing import cast

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.cache import BaseCache, caches
from django.http import HttpRequest
from django.utils.connection import ConnectionProxy
from ninja.throttling import SimpleRateThrottle

from assay.accounts.models import User
from assay.api.auth import person_of
from assay.evaluation_sites.models import Site
from assay.runs.models import Node

PROCESS = cast("BaseCache", ConnectionProxy(caches, "process"))
SHARED = cast("BaseCache", ConnectionProxy(caches, "default"))


class PersonThrottle(SimpleRateThrottle):
    """Counts the requests of everybody we know by who they are."""

    scope = "person"
    cache = PROCESS

    def __init__(self) -> None:
        super().__init__(settings.API_THROTTLE["user"])

    def get_cache_key(self, request: HttpRequest) -> str | None:
        person = person_of(request)
        return self.cache_format % {"scope": self.scope, "ident": person.pk} if isinstance(person, User) else None


class AddressThrottle(SimpleRateThrottle):
    """Counts the requests of everybody else by where they come from."""

    scope = "address"
    cache = PROCESS
    rate_name = "anonymous"

    def __init__(self) -> None:
        super().__init__(settings.API_THROTTLE[self.rate_name])

    def get_cache_key(self, request: HttpRequest) -> str | None:
        if getattr(request, "auth", None) and not isinstance(person_of(request), AnonymousUser):
            return None
        return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request)}


class NodeThrottle(SimpleRateThrottle):
    """Counts a node's requests by its name: a stolen token does not keep the server busy."""

    scope = "node"
    cache = PROCESS

    def __init__(self) -> None:
        super().__init__(settings.API_THROTTLE["node"])

    def get_cache_key(self, request: HttpRequest) -> str | None:
        node = getattr(request, "auth", None)
        return self.cache_format % {"scope": self.scope, "ident": node.pk} if isinstance(node, Node) else None


class SiteThrottle(SimpleRateThrottle):
    """The same for evaluation sites."""

    scope = "site"
    cache = PROCESS

    def __init__(self) -> None:
        super().__init__(settings.API_THROTTLE["site"])

    def get_cache_key(self, request: HttpRequest) -> str | None:
        site = getattr(request, "auth", None)
        return self.cache_format % {"scope": self.scope, "ident": site.pk} if isinstance(site, Site) else None


class SignInThrottle(AddressThrottle):
    """Guessing passwords takes longer. All processes count together. Failures are counted apart, see `accounts/sign_in.py`."""

    scope = "sign-in"
    cache = SHARED
    rate_name = "sign_in"
