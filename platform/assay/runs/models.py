"""Executing a submission: runs, their case runs (the unit of claim, lease, fence and container name), the nodes that do it,
and every team's share of them."""

import uuid

from django.db import models

from assay.accounts.models import Team
from assay.runs.fields import UsageField
from assay.submissions.models import Submission
from assay.testsets.models import Case
from containers.spec import Usage


class Node(models.Model):
    """A GPU node (or any host) in a run pool: an API client with a token, no database credentials and no references."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        DRAINING = "draining"
        QUARANTINED = "quarantined"
        REMOVED = "removed"

    name = models.SlugField(max_length=60, unique=True)
    pool = models.CharField(max_length=40, default="default", db_index=True)
    token_hash = models.CharField(max_length=64, unique=True)
    status = models.CharField(max_length=12, choices=Status, default=Status.ACTIVE)
    reason = models.CharField(max_length=200, blank=True)
    slots = models.PositiveIntegerField(default=1)
    most_slots = models.PositiveIntegerField(
        null=True, blank=True, help_text="the most it may say it has; empty: as many as the API takes"
    )
    hourly_cost = models.DecimalField(
        max_digits=10,
        decimal_places=4,
        null=True,
        blank=True,
        help_text="in the installation's own currency; empty: unknown",
    )
    inventory = models.JSONField(default=dict, help_text="GPUs, driver, disk, engine, cached images: as last reported")
    last_seen_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Run(models.Model):
    """One execution of a submission. Its status is derived from its case runs by one conditional UPDATE."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    submission = models.ForeignKey(Submission, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    pool = models.CharField(max_length=40)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["submission", "number"], name="runs_number_in_submission"),
            models.UniqueConstraint(
                fields=["submission"], condition=models.Q(finished_at=None), name="runs_one_unfinished"
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.number} of {self.submission}"


class CaseRun(models.Model):
    """One execution on one case (in cohort mode: on all of them, `case` is NULL)."""

    class Status(models.TextChoices):
        WAITING = "waiting", "waiting for the canary"
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="case_runs")
    case = models.ForeignKey(Case, null=True, on_delete=models.PROTECT, related_name="case_runs")
    position = models.PositiveIntegerField(help_text="random order, so that numbers say nothing about cases")
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    is_canary = models.BooleanField(default=False)
    pool = models.CharField(max_length=40, help_text="the run's, repeated here so that one index serves the claim")
    gpus = models.PositiveIntegerField(
        default=0, help_text="how many it needs: a node with fewer free ones never gets it"
    )
    priority = models.IntegerField(default=0, help_text="the phase's, when it was queued")
    turn = models.FloatField(default=0.0, help_text="start tag of fair queueing: see runs/fairness.py")
    expected_seconds = models.FloatField(default=0.0, help_text="what it was charged to the team's share when queued")
    attempt = models.PositiveIntegerField(default=0)
    fence = models.BigIntegerField(
        default=0, help_text="grows with every claim; a write with an old one changes nothing"
    )
    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.SET_NULL, related_name="case_runs")
    lease_until = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True, help_text="after a fault of ours: when it is tried again")
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    verdict = models.CharField(max_length=30, blank=True)
    reason = models.CharField(max_length=60, blank=True, help_text="the closed-vocabulary detail of the verdict")
    fault = models.CharField(max_length=12, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    infrastructure_failures = models.PositiveIntegerField(default=0)
    usage = UsageField(default=Usage, help_text="what it used: `containers.spec.Usage`")
    outputs = models.JSONField(default=list, help_text="[{name, key, sha256, bytes}]: canonical predictions in storage")
    log_key = models.CharField(max_length=200, blank=True)
    kept_from = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="the case run that really ran, of an earlier run whose good cases this one keeps",
    )

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["run", "position"], name="runs_case_run_position"),
            models.UniqueConstraint(fields=["run", "case"], name="runs_case_once_per_run"),
        ]
        indexes = [
            models.Index(
                "pool",
                models.F("priority").desc(),
                "turn",
                "position",
                name="runs_claimable",
                condition=models.Q(status="queued"),
            ),
            models.Index(fields=["lease_until"], name="runs_leased", condition=models.Q(status="running")),
            models.Index(
                fields=["run", "status"],
                name="runs_unfinished",
                condition=models.Q(status__in=("waiting", "queued", "running")),
            ),
            models.Index(fields=["finished_at"], name="runs_failed_lately", condition=models.Q(status="failed")),
        ]

    def __str__(self) -> str:
        return f"case run {self.position} of {self.run}"


class PromptRound(models.Model):
    """What one round of an interactive case run is told. Asked for by the node, made by the scoring pool, once."""

    case_run = models.ForeignKey(CaseRun, on_delete=models.CASCADE, related_name="prompt_rounds")
    fence = models.BigIntegerField(help_text="of the lease under which it was asked: another attempt plays anew")
    number = models.PositiveIntegerField(help_text="from 0")
    prompts = models.JSONField(null=True, help_text="see evaluator.scoring.interaction; empty until they are made")
    wall_seconds = models.FloatField(null=True, help_text="for all rounds of the case together")
    asked_at = models.DateTimeField()
    made_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["case_run", "fence", "number"], name="runs_prompts_once")]
        indexes = [models.Index(fields=["asked_at"], name="runs_unprompted", condition=models.Q(made_at=None))]

    def __str__(self) -> str:
        return f"round {self.number} of {self.case_run}"


class Share(models.Model):
    """How far a team has come in a pool's virtual time (seconds): the finish tag of fair queueing."""

    pool = models.CharField(max_length=40)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="shares")
    finish = models.FloatField(default=0.0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["pool", "team"], name="runs_share_once")]

    def __str__(self) -> str:
        return f"{self.team} in {self.pool}: {self.finish:.0f} s"
