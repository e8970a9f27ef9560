"""Operators' window on the rows: everything can be looked at, little can be changed.

Changes go through services, which keep the rules and write history. The admin would do neither. What operators need to change by
hand (accounts) is the exception.
"""

from typing import Any

from allauth.mfa.models import Authenticator
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from assay.accounts.errors import NotAllowedError
from assay.accounts.models import User


def sign_in_at_the_portal(request: HttpRequest, extra_context: Any = None) -> HttpResponse:  # noqa: ARG001  Django's signature
    """The admin has no door of its own: one page takes passwords, with its limits and its second factor."""
    wanted = request.GET.get("next", reverse("admin:index"))
    if request.user.is_authenticated:
        raise NotAllowedError(_("Only operators of this installation may see this."), what_to_do=_("Ask one of them."))
    return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': wanted})}")


admin.site.login = sign_in_at_the_portal  # type: ignore[method-assign]  # Django's own way to replace it

SECRET_FIELDS = frozenset({"token_hash", "password", "secret"})
LONG_FIELDS = (models.JSONField, models.TextField)
MOST_COLUMNS = 8


class Window(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Shows rows, changes none, and keeps hashes of secrets to itself."""

    list_per_page = 50
    show_full_result_count = False

    def shown(self) -> list["models.Field[Any, Any]"]:
        """The fields that are no secrets."""
        return [field for field in self.model._meta.concrete_fields if field.name not in SECRET_FIELDS]

    def columns(self) -> list["models.Field[Any, Any]"]:
        """The fields short enough for a list."""
        return [field for field in self.shown() if not isinstance(field, LONG_FIELDS) and field.name != "id"][
            :MOST_COLUMNS
        ]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return tuple(field.name for field in self.shown())

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return ("__str__", *(field.name for field in self.columns()))

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        return [field.name for field in self.columns() if field.many_to_one]

    def get_list_filter(self, request: HttpRequest) -> tuple[str, ...]:
        return tuple(field.name for field in self.shown() if field.choices or isinstance(field, models.BooleanField))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def open_windows(app_label: str) -> None:
    """Register every model of an app that has no page of its own yet."""
    for model in apps.get_app_config(app_label).get_models():
        if not admin.site.is_registered(model):
            admin.site.register(model, Window)


@admin.register(User)
class PersonAdmin(UserAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Accounts: operators may let people in, shut them out, and make operators."""

    list_display = ["username", "email", "display_name", "institution", "is_active", "is_staff", "date_joined"]
    fieldsets = (
        *(UserAdmin.fieldsets or ()),
        ("Shown to others", {"fields": ("display_name", "institution", "country", "orcid")}),
        ("Quotas", {"fields": ("quota_storage_gib",)}),
    )


class SecondFactorAdmin(Window):
    """Operators may remove the second factor of somebody who lost it. Nobody may read its secret."""

    def shown(self) -> list["models.Field[Any, Any]"]:
        return [field for field in super().shown() if field.name != "data"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)


def hide_second_factors() -> None:
    """Replace allauth's window on second factors, which shows their secrets."""
    if not isinstance(admin.site._registry.get(Authenticator), SecondFactorAdmin):
        admin.site.unregister(Authenticator)
        admin.site.register(Authenticator, SecondFactorAdmin)


open_windows("accounts")
