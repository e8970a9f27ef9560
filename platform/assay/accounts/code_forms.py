"""django-allauth's forms for a code, with the limit that every door shares."""

from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from django.utils import timezone

from assay.accounts.second_factor import count_code, forget_codes


class SignInCodeForm(AuthenticateForm):  # type: ignore[misc]  # allauth carries no types
    """The code after the password."""

    def clean_code(self) -> str:
        """Raises LimitReachedError where too many were wrong."""
        count_code(self.user, now=timezone.now())
        code = str(super().clean_code())
        forget_codes(self.user)
        return code


class ConfirmCodeForm(ReauthenticateForm):  # type: ignore[misc]  # allauth carries no types
    """The code that confirms who is still there."""

    def clean_code(self) -> str:
        """Raises LimitReachedError where too many were wrong."""
        count_code(self.user, now=timezone.now())
        code = str(super().clean_code())
        forget_codes(self.user)
        return code
