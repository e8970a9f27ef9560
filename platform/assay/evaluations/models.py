"""One scoring of a submission, the scores it gave, the images that organizers bring for their own metrics, and tests of a phase's rules."""

import uuid

from django.conf import settings
from django.db import models

from assay.challenges.models import Challenge, Phase, ProtocolVersion
from assay.runs.models import Run
from assay.submissions.models import Submission
from assay.testsets.models import Case, TestSet


class MetricImage(models.Model):
    """The organizers' own metrics as a container image, taken in like an algorithm's. Protocols name it by `image_id`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="metric_images")
    archive_sha256 = models.CharField(max_length=64)
    image_id = models.CharField(max_length=71, help_text="sha256:… as rewritten; the one that runs")
    rewritten_key = models.CharField(max_length=200)
    rewritten_bytes = models.BigIntegerField()
    report = models.JSONField(default=dict, help_text="the intake report")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["challenge", "image_id"], name="evaluations_metric_image_once")]

    def __str__(self) -> str:
        return self.image_id


class Evaluation(models.Model):
    """One scoring of a submission under one protocol and test-set version. Re-scoring makes a new row. The active one ranks."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    submission = models.ForeignKey(Submission, on_delete=models.CASCADE, related_name="evaluations")
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="evaluations")
    number = models.PositiveIntegerField()
    protocol = models.ForeignKey(ProtocolVersion, on_delete=models.PROTECT, related_name="evaluations")
    testset = models.ForeignKey(TestSet, on_delete=models.PROTECT, related_name="evaluations")
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    is_active = models.BooleanField(default=False)
    activates_when_done = models.BooleanField(default=True, help_text="no: a rejudgement, which is activated by hand")
    backend = models.CharField(max_length=40, blank=True)
    evaluator_version = models.CharField(max_length=40, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    fence = models.BigIntegerField(default=0)
    worker = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True, help_text="after a fault of ours: when it is tried again")
    error = models.CharField(max_length=300, blank=True, help_text="for organizers; never shown to participants")
    aggregates = models.JSONField(default=dict)
    receipt = models.JSONField(null=True, blank=True, help_text="signed; checked offline by `assay verify`")
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["submission", "number"], name="evaluations_number_in_submission"),
            models.UniqueConstraint(
                fields=["submission"], condition=models.Q(is_active=True), name="evaluations_one_active"
            ),
        ]
        indexes = [
            models.Index(fields=["lease_until"], name="evaluations_leased", condition=models.Q(status="running"))
        ]

    def __str__(self) -> str:
        return f"evaluation {self.number} of {self.submission}"


class CaseScores(models.Model):
    """All scores of one case: `scores` is [[label, metric, value | null, reason], …] in protocol order."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="case_scores")
    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="scores")
    scores = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["evaluation", "case"], name="evaluations_case_scored_once")]

    def __str__(self) -> str:
        return f"scores of {self.case} in {self.evaluation}"


class SelfTest(models.Model):
    """The rules of a phase tried on answers whose worth is known beforehand; see `self_tests.py`. Done by the scoring workers."""

    phase = models.ForeignKey(Phase, on_delete=models.CASCADE, related_name="self_tests")
    protocol = models.ForeignKey(ProtocolVersion, on_delete=models.CASCADE, related_name="self_tests")
    testset = models.ForeignKey(TestSet, on_delete=models.CASCADE, related_name="self_tests")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    asked_at = models.DateTimeField()
    attempt = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    is_passed = models.BooleanField(default=False)
    report = models.JSONField(default=dict, help_text="trials with their means and troubles, the cases, or an error")

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["phase", "protocol", "testset"],
                condition=models.Q(finished_at=None),
                name="evaluations_one_self_test_at_once",
            )
        ]

    def __str__(self) -> str:
        return f"self-test of {self.phase}"
