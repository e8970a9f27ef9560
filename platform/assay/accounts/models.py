"""Who somebody is: users, the teams they compete in, their API tokens, and the log of what they did."""

import uuid
from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Lower

from assay.accounts.moments import moments_in_range
from assay.accounts.names import LONGEST_KEY, name_key


class User(AbstractUser):
    """A person. `display_name` is what others see. The e-mail address is shown to organizers only."""

    username_key = models.CharField(max_length=LONGEST_KEY, editable=False, help_text="see `names.name_key`")
    email = models.EmailField()
    display_name = models.CharField(max_length=80, blank=True)
    institution = models.CharField(max_length=120, blank=True)
    country = models.CharField(max_length=2, blank=True)
    orcid = models.CharField(max_length=19, blank=True)
    language = models.CharField(max_length=10, blank=True, help_text="of mails; empty: the installation's")
    quota_storage_gib = models.PositiveIntegerField(null=True, blank=True, help_text="empty: the installation's")
    quota_drafts = models.PositiveIntegerField(null=True, blank=True, help_text="empty: the installation's")
    quota_published = models.PositiveIntegerField(null=True, blank=True, help_text="empty: the installation's")
    quota_run_hours = models.PositiveIntegerField(null=True, blank=True, help_text="empty: the installation's")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="accounts_user_email_unique",
                violation_error_message="An account with this e-mail address exists already.",
            ),
            moments_in_range("accounts_user_times", "date_joined", "last_login"),
            models.UniqueConstraint(
                fields=["username_key"],
                name="accounts_username_key_unique",
                violation_error_message="An account with this user name, or one that looks like it, exists already.",
            ),
        ]

    def __str__(self) -> str:
        return self.display_name or self.username

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Keep the key with the name, so that Django's own forms meet the constraint."""
        self.username_key = self._key()
        super().clean_fields(exclude=exclude)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Keep the key with the name."""
        self.username_key = self._key()
        super().save(*args, **with_key("username", "username_key", kwargs))

    def _key(self) -> str:
        """Accounts that were alike before keys existed keep theirs, which ends in `#` and a number."""
        key = name_key(self.username)
        return self.username_key if self.username_key.partition("#")[0] == key else key


def with_key(field: str, key: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `save`, where writing a name writes its key as well."""
    names = kwargs.get("update_fields")
    return kwargs if names is None or field not in names else kwargs | {"update_fields": {*names, key}}


class Team(models.Model):
    """Participants sharing one submission limit. Everyone competes in a team, alone if they like."""

    name = models.CharField(max_length=80)
    name_key = models.CharField(max_length=LONGEST_KEY, editable=False, help_text="see `names.name_key`")
    slug = models.SlugField(max_length=80, unique=True)
    institution = models.CharField(max_length=120, blank=True)
    members = models.ManyToManyField(User, through="TeamMember", related_name="teams")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name_key"], name="accounts_team_name_key_unique"),
            models.CheckConstraint(condition=~models.Q(name_key=""), name="accounts_team_name_visible"),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Keep the key with the name."""
        self.name_key = name_key(self.name)
        super().save(*args, **with_key("name", "name_key", kwargs))


class TeamMember(models.Model):
    """One person's place in one team. The captain invites and removes."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="team_memberships")
    is_captain = models.BooleanField(default=False)
    joined_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="accounts_team_member_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"


class TeamInvite(models.Model):
    """A link that lets one person join a team once. Only its hash is stored."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="invites")
    email = models.EmailField()
    token_hash = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.email} to {self.team}"


class ApiToken(models.Model):
    """A hashed, expiring bearer token for the API and the command line."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    token_hash = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list, help_text="what it may do, see `scopes.py`; empty: all its owner may")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"


class Identity(models.Model):
    """Who somebody is to another organization that signs people in. One of its people signs in to one account."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="identities")
    issuer = models.URLField(max_length=255)
    subject = models.CharField(max_length=255, help_text="what the issuer calls them, for good")
    connected_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["issuer", "subject"], name="accounts_identity_once"),
            models.UniqueConstraint(fields=["user", "issuer"], name="accounts_identity_one_per_issuer"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


class AuditEvent(models.Model):
    """One line of history: who changed what, from what to what. Written in the transaction of the change. Never edited."""

    at = models.DateTimeField(db_index=True)
    actor = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    actor_label = models.CharField(max_length=120, help_text="user name, 'node gpu-1', 'reaper', …")
    verb = models.CharField(max_length=60, help_text="such as submission.queued or phase.published")
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=40)
    challenge_slug = models.CharField(max_length=80, blank=True, db_index=True)
    details = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["object_type", "object_id", "at"], name="accounts_audit_object")]

    def __str__(self) -> str:
        return f"{self.verb} {self.object_type} {self.object_id}"


class SignInCount(models.Model):
    """How often signing in failed for one name, address or pair of both until a time. See `sign_in.py`."""

    counted = models.CharField(max_length=80, unique=True, help_text="what is counted and a hash of whose it is")
    attempts = models.PositiveIntegerField(default=0)
    until = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.counted}: {self.attempts}"
