"""Addresses of django-allauth's pages. It finds them by name, so they have no namespace.

Its views run outside of the request's transaction: what a wrong password or a used-up limit writes has to stay, and its limits lock rows
of the shared cache.
"""

from collections.abc import Callable
from typing import Any

from allauth.account import views
from allauth.mfa.base import views as factor
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.totp import views as totp
from django.db import transaction
from django.urls import path, re_path

from assay.portal.views import people


def page(address: str, view: Callable[..., Any], name: str) -> Any:
    """One page outside of the request's transaction."""
    return path(address, transaction.non_atomic_requests(view), name=name)


urlpatterns = [
    page("login/", people.sign_in, "account_login"),
    page("signup/", people.sign_up, "account_signup"),
    page("logout/", people.sign_out, "account_logout"),
    page("account/inactive/", views.account_inactive, "account_inactive"),
    page("account/confirm/", views.reauthenticate, "account_reauthenticate"),
    page("account/address/", views.email, "account_email"),
    page("account/address/verify/", views.email_verification_sent, "account_email_verification_sent"),
    page("account/address/verify/<str:key>/", views.confirm_email, "account_confirm_email"),
    page("login/code/", factor.authenticate, "mfa_authenticate"),
    page("account/confirm/code/", factor.reauthenticate, "mfa_reauthenticate"),
    page("account/second-factor/", factor.index, "mfa_index"),
    page("account/second-factor/app/", totp.activate_totp, "mfa_activate_totp"),
    page("account/second-factor/app/remove/", totp.deactivate_totp, "mfa_deactivate_totp"),
    page("account/second-factor/codes/", recovery.view_recovery_codes, "mfa_view_recovery_codes"),
    page("account/second-factor/codes/new/", recovery.generate_recovery_codes, "mfa_generate_recovery_codes"),
    page("account/second-factor/codes/file/", recovery.download_recovery_codes, "mfa_download_recovery_codes"),
    page("account/password/", views.password_change, "account_change_password"),
    page("account/password/set/", views.password_set, "account_set_password"),
    page("password/reset/", views.password_reset, "account_reset_password"),
    page("password/reset/sent/", views.password_reset_done, "account_reset_password_done"),
    page("password/reset/done/", views.password_reset_from_key_done, "account_reset_password_from_key_done"),
    re_path(  # the key holds hyphens of its own
        r"^password/reset/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>[^/]+)/$",
        transaction.non_atomic_requests(views.password_reset_from_key),
        name="account_reset_password_from_key",
    ),
]
