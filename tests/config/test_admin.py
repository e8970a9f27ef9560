"""Operators can look at every row. Nobody else can, and nothing is changed behind the services' backs."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

import factories
from assay.accounts.tokens import issue_token

OUR_MODELS = [model for model in apps.get_models() if model.__module__.startswith("assay.")]


def test_every_model_has_its_window():
    assert len(OUR_MODELS) > 20
    assert [model for model in OUR_MODELS if not admin.site.is_registered(model)] == []


@pytest.mark.parametrize("model", OUR_MODELS, ids=lambda model: model.__name__)
def test_a_superuser_can_open_every_list(scene, client, model):
    factories.submission(phase=scene.phase, team=scene.team)
    client.force_login(factories.user(is_staff=True, is_superuser=True))
    assert client.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")).status_code == 200


def test_a_window_shows_a_row_without_its_secrets(scene, client, now):
    token, _ = issue_token(user=scene.pia, name="laptop", days=1, now=now)
    client.force_login(factories.user(is_staff=True, is_superuser=True))
    page = client.get(reverse("admin:accounts_apitoken_change", args=[token.pk])).content.decode()
    assert "laptop" in page
    assert token.token_hash not in page
    assert "Save" not in page


def test_an_organizer_is_no_operator(scene, client):
    client.force_login(scene.olga)
    assert client.get(reverse("admin:index"), follow=True).status_code == 403
