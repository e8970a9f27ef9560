"""How API tests ask: as one of the people of the scene, or as nobody."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

import people
from assay.accounts.models import User
from assay.accounts.tokens import issue_token


@dataclass(frozen=True, kw_only=True)
class Caller:
    """One person's connection to the API."""

    client: Client
    headers: dict[str, str]

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        data = {} if body is None else {"data": body, "content_type": "application/json"}
        return self.client.generic_json(method, path, data, self.headers | headers)


class ApiClient(Client):
    """Django's test client, told a method by name."""

    def generic_json(self, method: str, path: str, data: dict[str, Any], headers: dict[str, str]) -> HttpResponse:
        return getattr(self, method.lower())(f"/api/v1{path}", headers=headers, **data)


@pytest.fixture
def as_nobody() -> Caller:
    return Caller(client=ApiClient(), headers={})


@pytest.fixture
def calling_as(db) -> Callable[[User], Caller]:
    def calling_as(user: User) -> Caller:
        _, secret = issue_token(user=user, name="test", days=1, now=timezone.now())
        return Caller(client=ApiClient(), headers={"Authorization": f"Bearer {secret}"})

    return calling_as


@pytest.fixture
def as_pia(scene: people.Scene, calling_as) -> Caller:
    return calling_as(scene.pia)


@pytest.fixture
def as_olga(scene: people.Scene, calling_as) -> Caller:
    return calling_as(scene.olga)


@pytest.fixture
def as_otto(scene: people.Scene, calling_as) -> Caller:
    return calling_as(scene.otto)


@pytest.fixture
def as_stan(scene: people.Scene, calling_as) -> Caller:
    return calling_as(scene.stan)
