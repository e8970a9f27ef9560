"""What people are told: notices, what each person wants to hear of, and the mails that wait to be sent."""

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from assay.notices.words import WITHOUT_TIME


class Kind(models.TextChoices):
    """What a notice is about. Each kind is one row of a person's choices."""

    VERDICT = "verdict", _("A submission of my team has been scored")
    FAILURE = "failure", _("A submission of my team has failed")
    REJUDGE = "rejudge", _("Scores of my team were computed again")
    ACCEPTANCE = "acceptance", _("Organizers decided about my part in a challenge")
    DEADLINE = "deadline", _("A phase that I take part in closes soon")
    ANNOUNCEMENT = "announcement", _("Organizers announce something")
    DISCUSSION = "discussion", _("Somebody writes in a discussion that I take part in or moderate")
    TEAM = "team", _("Somebody joins or leaves my team")
    REQUEST = "request", _("Somebody asks to take part in a challenge that I organize, or withdraws an agreement")
    PUBLICATION = "publication", _("A draft waits for an operator, or an operator has decided")


class ByMail(models.TextChoices):
    """When a kind of notice is mailed."""

    NOW = "now", _("at once")
    DIGEST = "digest", _("once a day, all in one mail")
    NEVER = "never", _("never")


class Notice(models.Model):
    """One thing that one person is told. The sentence is made from `event` and `facts` where it is shown, in the reader's language."""

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=12, choices=Kind)
    event = models.CharField(max_length=40, help_text="which sentence of `words.py`")
    facts = models.JSONField(default=dict, help_text="what the sentence needs, and nothing else")
    path = models.CharField(max_length=300, help_text="the page it leads to")
    challenge_slug = models.CharField(max_length=80, blank=True)
    key = models.CharField(max_length=120, help_text="what is told only once")
    at = models.DateTimeField()
    is_shown = models.BooleanField(default=True, help_text="whether it stands in the list on the website")
    read_at = models.DateTimeField(null=True, blank=True)
    waits_for_digest = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["person", "key"], name="notices_told_once")]
        indexes = [
            models.Index(fields=["person", "-at"], name="notices_newest"),
            models.Index(fields=["person"], condition=models.Q(read_at=None, is_shown=True), name="notices_unread"),
            models.Index(fields=["at"], condition=models.Q(waits_for_digest=True), name="notices_for_digest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.person}"


class Choice(models.Model):
    """What one person wants to hear of, by kind. A kind without a row is told by the defaults of `choices.py`."""

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notice_choices")
    kind = models.CharField(max_length=12, choices=Kind)
    is_shown = models.BooleanField(default=True)
    by_mail = models.CharField(max_length=6, choices=ByMail)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["person", "kind"], name="notices_choice_once")]

    def __str__(self) -> str:
        return f"{self.kind} for {self.person}: {self.by_mail}"


class OutgoingMail(models.Model):
    """A mail that waits to be sent, written in the transaction of what it tells. The text is forgotten once it has gone."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="outgoing_mails"
    )
    notice = models.OneToOneField(
        Notice, null=True, blank=True, on_delete=models.SET_NULL, related_name="mail", help_text="mailed only once"
    )
    address = models.EmailField()
    subject = models.CharField(max_length=300)
    text = models.TextField(blank=True)
    unsubscribe_url = models.CharField(max_length=500, blank=True)
    written_at = models.DateTimeField()
    due_at = models.DateTimeField(help_text="when it is tried next; taken by a worker, when that worker is given up")
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    gave_up_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["due_at"], condition=models.Q(sent_at=None, gave_up_at=None), name="notices_mail_waits"
            )
        ]

    def __str__(self) -> str:
        return f"{self.subject} to {self.address}"


class Hook(models.Model):
    """An address that a team, or the organizers of a challenge, want to be told at. Exactly one of the two owns it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    team = models.ForeignKey("accounts.Team", null=True, blank=True, on_delete=models.CASCADE, related_name="hooks")
    challenge_slug = models.CharField(max_length=80, blank=True, db_index=True)
    url = models.CharField(max_length=500)
    secret = models.CharField(max_length=80, help_text="signs every delivery; its owners keep a copy")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField()
    failures = models.PositiveIntegerField(default=0, help_text="deliveries given up one after the other")
    disabled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(team=None) ^ models.Q(challenge_slug=""), name="notices_hook_has_one_owner"
            )
        ]

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One thing that one hook is told, written in the transaction of what it tells."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    hook = models.ForeignKey(Hook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40)
    payload = models.JSONField()
    replay_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="replays")
    at = models.DateTimeField()
    due_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    status_code = models.PositiveIntegerField(null=True, blank=True, help_text="of the last answer")
    error = models.CharField(max_length=300, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    gave_up_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["due_at"], condition=models.Q(done_at=None, gave_up_at=None), name="notices_hook_waits"
            ),
            models.Index(fields=["hook", "-at"], name="notices_hook_log"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.hook}"

    @property
    def state(self) -> str:
        """`waits`, `arrived` or `given_up`."""
        return "arrived" if self.done_at else "given_up" if self.gave_up_at else "waits"

    @property
    def hides_time(self) -> bool:
        """Whether a team reads no time of it. Organizers read every time."""
        return self.replay_of_id is None and self.hook.team_id is not None and self.event in WITHOUT_TIME
