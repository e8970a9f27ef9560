"""django-allauth's forms for a code, with the limit that every door shares."""

from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal import auth
from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from django.utils import timezone
from django.utils.datastructures import MultiValueDict

from assay.accounts.models import User
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


class NewFactorForm(ActivateTOTPForm):  # type: ignore[misc]  # allauth carries no types
    """The first code of a new app. A page that is loaded again shows the same picture, which the app has read already."""

    def __init__(
        self,
        *,
        user: User,
        data: QueryDict | None = None,
        files: "MultiValueDict[str, UploadedFile[bytes]] | None" = None,
        initial: dict[str, object] | None = None,
        prefix: str | None = None,
    ) -> None:
        self.user = user
        forms.Form.__init__(self, data, files, initial=initial, prefix=prefix)
        self.secret = auth.get_totp_secret(regenerate=False)
