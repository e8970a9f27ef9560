"""Third parties that evaluate on data of their own, which never leaves them."""

import uuid

from django.db import models

from assay.accounts.models import User
from assay.challenges.models import Phase, ProtocolVersion
from assay.submissions.models import Submission


class SiteCode(models.Model):
    """An invitation: the holder of this code may join once, as the site of this name. Only its hash is stored."""

    phase = models.ForeignKey(Phase, on_delete=models.CASCADE, related_name="site_codes")
    name = models.SlugField(max_length=60)
    title = models.CharField(max_length=120)
    code_hash = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"code for {self.title}"


class Site(models.Model):
    """A hospital (say) enrolled for one phase. Its agent polls with a token of its own.

    A site that joined with a code has a key: the organizers approve it once both sides have read the same words, and what it
    releases is signed. A site without a key was enrolled by token alone.
    """

    name = models.SlugField(max_length=60)
    title = models.CharField(max_length=120)
    phase = models.ForeignKey(Phase, on_delete=models.CASCADE, related_name="evaluation_sites")
    token_hash = models.CharField(max_length=64, unique=True)
    public_key = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()
    joined_at = models.DateTimeField(null=True, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_because = models.CharField(max_length=200, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["phase", "name"], name="evaluation_sites_name_in_phase")]

    def __str__(self) -> str:
        return self.title

    @property
    def is_waiting(self) -> bool:
        """Whether it has joined with a key that nobody has approved yet."""
        return bool(self.public_key) and self.approved_at is None


class SiteDataset(models.Model):
    """What a site says of its data: a Merkle root and counts. No names, no paths, no per-case hashes."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="datasets")
    root_sha256 = models.CharField(max_length=64)
    case_count = models.PositiveIntegerField()
    summary = models.JSONField(default=dict)
    document = models.JSONField(null=True, blank=True, help_text="what the site signed; none of a site without a key")
    registered_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["site", "root_sha256"], name="evaluation_sites_dataset_once")]

    def __str__(self) -> str:
        return f"{self.site}: {self.root_sha256[:12]}"


class SiteAgreement(models.Model):
    """What the organizers and a site agreed on: the rules, the data, what may be released, how much and until when.

    `terms` is signed by the installation when an organizer offers them, `acceptance` by the site. A new protocol or new data needs a
    new agreement: nothing is claimed under an old one.
    """

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="agreements")
    dataset = models.ForeignKey(SiteDataset, on_delete=models.PROTECT, related_name="agreements")
    protocol = models.ForeignKey(ProtocolVersion, on_delete=models.PROTECT, related_name="+")
    number = models.PositiveIntegerField()
    terms = models.JSONField()
    terms_sha256 = models.CharField(max_length=64, unique=True)
    acceptance = models.JSONField(null=True, blank=True)
    most_releases = models.PositiveIntegerField()
    offered_at = models.DateTimeField()
    offered_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    accepted_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["site", "number"], name="evaluation_sites_agreement_number")]

    def __str__(self) -> str:
        return f"agreement {self.number} with {self.site}"


class SiteLogEntry(models.Model):
    """One line of a phase's public log of sites. Each names the hash of the line before, so none can be changed or left out later."""

    phase = models.ForeignKey(Phase, on_delete=models.CASCADE, related_name="site_log")
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    kind = models.CharField(max_length=20)
    site_name = models.CharField(max_length=60)
    document = models.JSONField()
    document_sha256 = models.CharField(max_length=64)
    previous = models.CharField(max_length=64, blank=True)
    sha256 = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["phase", "number"], name="evaluation_sites_log_number")]

    def __str__(self) -> str:
        return f"{self.number}: {self.kind} of {self.site_name}"


class SiteEvaluation(models.Model):
    """One submission evaluated at one site: claimed under a lease, reviewed there, then released or declined."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        REVIEW = "review", "waiting for the site's approval"
        RELEASED = "released"
        DECLINED = "declined"
        RECALLED = "recalled"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="evaluations")
    submission = models.ForeignKey(Submission, on_delete=models.CASCADE, related_name="site_evaluations")
    dataset = models.ForeignKey(SiteDataset, null=True, on_delete=models.PROTECT, related_name="evaluations")
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    round = models.PositiveIntegerField(
        default=1, help_text="1, then one more for each time it is run again after a recall"
    )
    fence = models.BigIntegerField(default=0)
    agent = models.CharField(max_length=64, blank=True, help_text="which installation of the site's program holds it")
    agreement = models.ForeignKey(SiteAgreement, null=True, on_delete=models.PROTECT, related_name="evaluations")
    order = models.JSONField(null=True, blank=True, help_text="the work order, signed by this installation")
    lease_until = models.DateTimeField(null=True, blank=True)
    release = models.JSONField(
        null=True, blank=True, help_text="the approved aggregates, exactly as the site sent them"
    )
    document = models.JSONField(null=True, blank=True, help_text="the release, signed by the site")
    receipt = models.JSONField(null=True, blank=True, help_text="our receipt for it, signed by this installation")
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)
    recalled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["site", "submission", "round"], name="evaluation_sites_round_once")
        ]

    def __str__(self) -> str:
        return f"{self.submission} at {self.site}"
