"""What people type in: checked for shape here, for meaning in the services."""

from collections.abc import Sequence

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.utils.translation import gettext_lazy as _

from assay.accounts.scopes import SCOPES
from assay.submissions.kept import KeptFile
from containers.spec import MODEL_FOLDER


class SignUpForm(forms.Form):
    """A new account."""

    username = forms.CharField(label=_("User name"), max_length=60, help_text=_("Letters, digits and . + - _"))
    display_name = forms.CharField(label=_("Name others see"), max_length=80)
    email = forms.EmailField(
        label=_("E-mail"), help_text=_("Shown to organizers of challenges you join, to nobody else.")
    )
    password = forms.CharField(label=_("Password"), widget=forms.PasswordInput, help_text=_("At least 10 characters."))
    next = forms.CharField(widget=forms.HiddenInput, required=False)


class NewcomerForm(SignUpForm):
    """A new account of somebody who signs in by another organization."""

    password = None  # type: ignore[assignment]  # Django's way to leave a field of the parent out
    next = None  # type: ignore[assignment]  # Django's, too


class SignInForm(AuthenticationForm):
    """Django's own, with our words."""

    next = forms.CharField(widget=forms.HiddenInput, required=False)
    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": _("The user name or the password is not right. Capital and small letters differ in both."),
    }

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on to Django as they came
        self.fields["username"].label = _("User name")


class TeamForm(forms.Form):
    """A new team."""

    name = forms.CharField(label=_("Name"), max_length=80)
    institution = forms.CharField(label=_("Institution"), max_length=120, required=False)


class TokenForm(forms.Form):
    """A new API token."""

    name = forms.CharField(label=_("Name"), max_length=80)
    days = forms.IntegerField(label=_("Days"), min_value=1, max_value=365)
    scopes = forms.MultipleChoiceField(label=_("What it may do"), choices=list(SCOPES.items()), required=False)


class ProfileForm(forms.Form):
    """What people say about themselves."""

    display_name = forms.CharField(label=_("Name others see"), max_length=80)
    institution = forms.CharField(label=_("Institution"), max_length=120, required=False)
    country = forms.CharField(
        label=_("Country"), max_length=2, required=False, help_text=_("Two letters, such as DE or US.")
    )
    orcid = forms.CharField(label="ORCID iD", max_length=60, required=False, help_text="0000-0002-1825-0097")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on to Django as they came
        self.fields["language"] = forms.ChoiceField(
            label=_("Language of mails"),
            required=False,
            choices=[("", _("the installation's")), *settings.LANGUAGES],
        )


class DeletionForm(forms.Form):
    """The end of an account: the user name typed, and the password again where there is one."""

    username = forms.CharField(label=_("Your user name"), max_length=150)
    password = forms.CharField(label=_("Password"), widget=forms.PasswordInput)

    def __init__(self, *args: object, asks_for_password: bool, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on to Django as they came
        if not asks_for_password:
            del self.fields["password"]


FIELDS_OF_REGISTRY = ("reference", "registry_user", "registry_password")


class SubmitForm(forms.Form):
    """A submission: its words, and its archive either as an upload already made or as a file in this request."""

    name = forms.CharField(label=_("Algorithm name"), max_length=120, help_text=_("Shown on the leaderboard."))
    description = forms.CharField(label=_("Description"), required=False, widget=forms.Textarea(attrs={"rows": 3}))
    url = forms.URLField(label=_("Code or paper"), required=False, assume_scheme="https")
    division = forms.ChoiceField(label=_("Division"), help_text=_("Each division has ranks of its own."))
    archive = forms.FileField(label=_("Archive"), required=False)
    upload_id = forms.UUIDField(widget=forms.HiddenInput, required=False)
    kept_image = forms.ChoiceField(
        label=_("Or an image that your team has handed in before"),
        required=False,
        help_text=_("It need not be sent again."),
    )
    reference = forms.CharField(
        label=_("Image in the registry"),
        required=False,
        max_length=300,
        help_text=_("Such as ghcr.io/team/algorithm:1.0. The server fetches it by its digest."),
    )
    registry_user = forms.CharField(label=_("User in the registry"), required=False, max_length=200)
    registry_password = forms.CharField(
        label=_("Password or token"),
        required=False,
        max_length=4000,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("For images that are not public. It is kept encrypted until the image is checked, then forgotten."),
    )
    model = forms.FileField(
        label=_("Model archive"),
        required=False,
        help_text=_("A tar of weights, as grand-challenge takes it. Its files lie in the model folder, read-only."),
        widget=forms.FileInput(attrs={"data-purpose": "model", "data-upload-into": "model_upload_id"}),
    )
    model_upload_id = forms.UUIDField(widget=forms.HiddenInput, required=False)
    kept_model = forms.ChoiceField(
        label=_("Or a model that your team has handed in before"),
        required=False,
        help_text=_("It need not be sent again."),
    )
    model_folder = forms.CharField(label=_("Model folder"), max_length=200, required=False, initial=MODEL_FOLDER)
    command = forms.CharField(
        label=_("Command"),
        required=False,
        max_length=2000,
        help_text=_("What the image's shell runs. Without it, the image says so itself."),
    )
    allow_duplicate = forms.BooleanField(
        label=_("Use an attempt on a file that we have submitted before"), required=False
    )

    def __init__(
        self,
        *args: object,
        is_container: bool,
        is_code: bool = False,
        takes_command: bool = False,
        kept: Sequence[KeptFile] = (),
        divisions: Sequence[str] = (),
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on to Django as they came
        if not is_container or is_code:
            for name in ("model", "model_upload_id", "model_folder", *FIELDS_OF_REGISTRY):
                del self.fields[name]
        if not (is_container and takes_command):
            del self.fields["command"]
        for name, kind in (("kept_image", "image"), ("kept_model", "model")):
            choices = [(file.sha256, kept_words(file)) for file in kept if file.kind == kind]
            if is_container and choices:
                self.fields[name].choices = [("", "–"), *choices]  # type: ignore[attr-defined]  # a ChoiceField
            else:
                del self.fields[name]
        if divisions:
            self.fields["division"].choices = [("", "–"), *((name, name) for name in divisions)]  # type: ignore[attr-defined]  # a ChoiceField
        else:
            del self.fields["division"]
        self.fields["archive"].help_text = (
            _("A zip with predict.py or metadata, and requirements.txt where it needs packages.")
            if is_code
            else _("From docker save, or an OCI layout; .tar, .tar.gz or .tar.zst.")
            if is_container
            else _("A zip with one file per case.")
        )

    def clean(self) -> dict[str, object]:
        """An archive has to come one way or the other."""
        cleaned = super().clean() or {}
        if (
            not any(cleaned.get(name) for name in ("upload_id", "archive", "kept_image", "reference"))
            and not self.errors
        ):
            self.add_error("archive", _("Choose a file."))
        return cleaned

    def fields_of_image(self) -> list[forms.BoundField]:
        """What stands beside the file of an image, as far as this phase has it."""
        return [self[name] for name in ("kept_image", "command") if name in self.fields]

    def fields_of_model(self) -> list[forms.BoundField]:
        """A model beside the image, where the phase takes images."""
        return [self[name] for name in ("model", "kept_model", "model_folder") if name in self.fields]

    def fields_of_registry(self) -> list[forms.BoundField]:
        """An image that is fetched in place of one that is sent."""
        return [self[name] for name in FIELDS_OF_REGISTRY if name in self.fields]

    def words(self) -> list[forms.BoundField]:
        """What is said of the algorithm."""
        return [self[name] for name in ("name", "description", "url", "division") if name in self.fields]


def kept_words(file: KeptFile) -> str:
    """One line of a list: `2: model.tar.gz, 2026-11-30, sha256 3f2c…, My algorithm`."""
    named = f", {', '.join(file.submissions[:2])}" if file.submissions else ""
    return f"{file.version}: {file.filename}, {file.first_at:%Y-%m-%d}, sha256 {file.sha256[:12]}…{named}"
