"""What a team hands in: uploads, the algorithm images or prediction archives they carry, and submissions."""

import uuid

from django.conf import settings
from django.db import models

from assay.accounts.models import Team
from assay.challenges.models import Challenge, Phase, ProtocolVersion
from assay.submissions.reasons import sentence
from assay.testsets.models import TestSet


class Upload(models.Model):
    """A resumable upload (tus 1.0). `offset_bytes` is written after fsync: it never promises more than is on disk."""

    class Purpose(models.TextChoices):
        IMAGE = "image"
        PREDICTIONS = "predictions"
        TESTSET = "testset"
        MODEL = "model"
        CODE = "code"
        WHEELS = "wheels"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads")
    purpose = models.CharField(max_length=12, choices=Purpose)
    filename = models.CharField(max_length=255)
    total_bytes = models.BigIntegerField()
    offset_bytes = models.BigIntegerField(default=0)
    expected_sha256 = models.CharField(max_length=64, blank=True)
    sha256 = models.CharField(max_length=64, blank=True, help_text="set once complete and hashed")
    key = models.CharField(max_length=200, blank=True, help_text="empty once its file is not needed any more")
    reference = models.CharField(
        max_length=400,
        blank=True,
        default="",
        help_text="of an image in a registry, by digest: it is fetched, not sent",
    )
    sealed_login = models.TextField(
        blank=True,
        default="",
        help_text="user and password of the registry, encrypted; empty once the image is checked",
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(offset_bytes__lte=models.F("total_bytes")), name="submissions_upload_offset"
            )
        ]

    def __str__(self) -> str:
        return f"{self.filename} ({self.offset_bytes}/{self.total_bytes})"


class CodePart(models.Model):
    """What organizers provide for submissions of code: a base image, or a house of wheels. Kept by its hash, which protocols name."""

    class Kind(models.TextChoices):
        BASE = "base"
        WHEELS = "wheels"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="code_parts")
    kind = models.CharField(max_length=6, choices=Kind)
    version = models.PositiveIntegerField(help_text="counts the challenge's parts of this kind from 1")
    identity = models.CharField(max_length=71, help_text="sha256:… as protocols name it: of the image, or of the zip")
    filename = models.CharField(max_length=255)
    key = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64, help_text="of the stored file")
    stored_bytes = models.BigIntegerField()
    report = models.JSONField(
        default=dict, help_text="of an image its intake report; of wheels their packages and versions"
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["challenge", "kind", "identity"], name="submissions_code_part_once"),
            models.UniqueConstraint(fields=["challenge", "kind", "version"], name="submissions_code_part_version"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.version}"


class AlgorithmImage(models.Model):
    """One immutable container image, rewritten under our own identity by `containers.intake`. One row per team, archive and model.

    `built_on`: the archive is a zip of code. The image is made of it here, on what `built_on` stands for.
    """

    class Status(models.TextChoices):
        CHECKING = "checking"
        ACCEPTED = "accepted"
        REJECTED = "rejected"
        DELETED = "deleted"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="images")
    upload = models.ForeignKey(Upload, null=True, on_delete=models.SET_NULL, related_name="images")
    archive_sha256 = models.CharField(max_length=64, db_index=True)
    model_upload = models.ForeignKey(
        Upload, null=True, blank=True, on_delete=models.SET_NULL, related_name="model_images"
    )
    model_sha256 = models.CharField(
        max_length=64, blank=True, default="", help_text="of the model archive that became its last layer, or empty"
    )
    model_folder = models.CharField(max_length=200, blank=True, default="", help_text="where the model's files lie")
    built_on = models.CharField(
        max_length=64, blank=True, default="", help_text="hash of base image, wheels and mounts; empty for an image"
    )
    uploaded_image_id = models.CharField(max_length=71, blank=True, help_text="sha256:… of the config as uploaded")
    image_id = models.CharField(
        max_length=71, blank=True, db_index=True, help_text="sha256:… as rewritten; the one that runs"
    )
    rewritten_key = models.CharField(max_length=200, blank=True)
    rewritten_sha256 = models.CharField(max_length=64, blank=True)
    rewritten_bytes = models.BigIntegerField(default=0)
    status = models.CharField(max_length=10, choices=Status, default=Status.CHECKING)
    reason = models.CharField(max_length=60, blank=True)
    report = models.JSONField(default=dict, help_text="the intake report the participant may read")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "archive_sha256", "model_sha256", "model_folder", "built_on"],
                name="submissions_image_and_model_once",
            )
        ]

    def __str__(self) -> str:
        return self.image_id or f"image {self.pk}"


class Submission(models.Model):
    """One act of entering an algorithm image (or predictions) in a phase. What decides its result is frozen here on acceptance."""

    class Status(models.TextChoices):
        RECEIVED = "received"
        CHECKING = "checking"
        QUEUED = "queued"
        RUNNING = "running"
        SCORING = "scoring"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    phase = models.ForeignKey(Phase, on_delete=models.PROTECT, related_name="submissions")
    challenge = models.ForeignKey(Challenge, on_delete=models.PROTECT, related_name="submissions")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="submissions")
    submitted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="submissions")
    image = models.ForeignKey(
        AlgorithmImage, null=True, blank=True, on_delete=models.PROTECT, related_name="submissions"
    )
    predictions = models.ForeignKey(Upload, null=True, blank=True, on_delete=models.PROTECT, related_name="submissions")
    name = models.CharField(max_length=120, help_text="the algorithm's name on the leaderboard")
    description = models.TextField(blank=True)
    url = models.URLField(blank=True)
    imported_from = models.URLField(
        blank=True, help_text="where a published table was copied from: nothing ran here, and no prize can be won"
    )
    number = models.PositiveIntegerField(help_text="counts from 1 within the phase: the #214 people quote")
    status = models.CharField(max_length=10, choices=Status, default=Status.RECEIVED, db_index=True)
    verdict = models.CharField(
        max_length=30, blank=True, help_text="why it ended: a name from containers.verdicts, or empty"
    )
    reason = models.CharField(max_length=60, blank=True, help_text="a code of submissions.reasons, or empty")
    facts = models.JSONField(default=dict, help_text="what the reason's sentence needs; safe to show the participant")
    earlier_text = models.CharField(
        max_length=300, blank=True, help_text="the sentence of a row from before there were reasons, shown as it is"
    )
    fault = models.CharField(max_length=12, blank=True, help_text="participant | organizer | platform")
    protocol = models.ForeignKey(ProtocolVersion, on_delete=models.PROTECT, related_name="submissions")
    testset = models.ForeignKey(TestSet, on_delete=models.PROTECT, related_name="submissions")
    limits = models.JSONField(default=dict, help_text="resource limits as frozen on acceptance")
    run_seconds = models.FloatField(default=0.0, help_text="how long its cases ran on nodes, all attempts together")
    reserved_seconds = models.FloatField(
        default=0.0, help_text="the longest it may run: counts against quotas until it has ended"
    )
    origin_hash = models.CharField(
        max_length=64, blank=True, help_text="keyed hash of the client's network address; forgotten after a while"
    )
    predictions_sha256 = models.CharField(
        max_length=64, blank=True, help_text="of the hashes of everything it wrote, by case; set when it was scored"
    )
    is_charged = models.BooleanField(default=True, help_text="counts against the submission limit")
    is_refunded = models.BooleanField(
        default=False, help_text="never charged, however it ends: taken up again after a fault of others"
    )
    is_disqualified = models.BooleanField(default=False)
    disqualified_reason = models.CharField(max_length=300, blank=True)
    is_withdrawn = models.BooleanField(default=False)
    is_chosen = models.BooleanField(default=False, help_text="its team lets this one stand for it in the phase")
    is_late = models.BooleanField(default=False, help_text="came after closing: scored, never ranked")
    is_baseline = models.BooleanField(
        default=False, help_text="the organizers' own, to compare with: scored and shown, never ranked, never charged"
    )
    is_hidden = models.BooleanField(default=False, help_text="organizers keep it off the leaderboard; its team sees it")
    flag = models.CharField(max_length=200, blank=True, help_text="what organizers noted about it, for themselves")
    rerun_of = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="reruns",
        help_text="the submission whose archived image runs again, in another phase or on another test set",
    )
    division = models.CharField(max_length=40, blank=True, help_text="of the phase's divisions; each has its own ranks")
    created_at = models.DateTimeField()
    status_changed_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    deletion_asked_at = models.DateTimeField(
        null=True, blank=True, help_text="when its team asked that its files be deleted"
    )
    predictions_deleted_at = models.DateTimeField(
        null=True, blank=True, help_text="when what it wrote was deleted: it cannot be scored again"
    )
    logs_deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["phase", "number"], name="submissions_number_in_phase"),
            models.CheckConstraint(
                condition=models.Q(image__isnull=True) | models.Q(predictions__isnull=True), name="submissions_one_kind"
            ),
            models.UniqueConstraint(
                fields=["phase", "team"], condition=models.Q(is_chosen=True), name="submissions_one_chosen"
            ),
            models.UniqueConstraint(fields=["phase", "testset", "rerun_of"], name="submissions_rerun_once"),
        ]
        indexes = [
            models.Index(fields=["phase", "team", "created_at"], name="submissions_limit_window"),
            models.Index(fields=["-created_at", "-number"], name="submissions_newest"),
        ]

    def __str__(self) -> str:
        return f"#{self.number} {self.name}"

    @property
    def verdict_text(self) -> str:
        """Why it ended, in the reader's language. Empty while there is nothing to say."""
        return sentence(self.reason, self.facts) if self.reason else self.earlier_text


class RunTime(models.Model):
    """How long algorithms ran on nodes on one day, by challenge and by who submitted them: what quotas count."""

    day = models.DateField()
    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="run_times")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="run_times")
    seconds = models.FloatField(default=0.0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["challenge", "person", "day"], name="submissions_run_time_once")]
        indexes = [models.Index(fields=["person", "day"], name="submissions_run_time_person")]

    def __str__(self) -> str:
        return f"{self.person} in {self.challenge.slug} on {self.day}: {self.seconds:.0f} s"


class Objection(models.Model):
    """A team objects to the results of a phase while they are under review. See `objections.py`."""

    class State(models.TextChoices):
        OPEN = "open"
        UPHELD = "upheld"
        REJECTED = "rejected"

    phase = models.ForeignKey(Phase, on_delete=models.CASCADE, related_name="objections")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="objections")
    written_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    text = models.CharField(max_length=4000)
    created_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    answer = models.CharField(max_length=4000, blank=True, help_text="the team reads it")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state="open", decided_at=None)
                | models.Q(~models.Q(state="open"), decided_at__isnull=False),
                name="submissions_objection_answered",
            )
        ]

    def __str__(self) -> str:
        return f"objection of {self.team} in {self.phase}"


class Message(models.Model):
    """Organizers wrote to some of those who take part; see `messages.py`."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="messages")
    audience = models.CharField(max_length=200, help_text="as it was chosen: all, phase:SLUG:STATE or team:SLUG")
    audience_words = models.CharField(max_length=300, help_text="the same in words, as they were then")
    people = models.PositiveIntegerField(help_text="how many it went to")
    title = models.CharField(max_length=160)
    text = models.TextField()
    text_html = models.TextField(editable=False)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at", "-pk"]

    def __str__(self) -> str:
        return self.title
