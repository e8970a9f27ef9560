"""Hidden cases. Files are named by storage keys and opened by `storage.py` only."""

from django.conf import settings
from django.db import models

from assay.challenges.models import Challenge, Phase


class WithoutReports(models.Manager["TestSet"]):
    """Test sets without their reports, which tell of every case and are read on the organizers' pages alone."""

    def get_queryset(self) -> models.QuerySet["TestSet"]:
        """A report that is asked for all the same costs a query."""
        return super().get_queryset().defer("report")


class TestSet(models.Model):
    """A versioned, hashed list of cases. Frozen when a phase that uses it opens. A change is a new version."""

    __test__ = False  # pytest: not a test class

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="testsets")
    name = models.SlugField(max_length=80)
    version = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64, help_text="of the manifest: names, roles, sizes and hashes of every file")
    is_public = models.BooleanField(default=False, help_text="training cases anyone may download, references included")
    notice = models.TextField(blank=True, help_text="licence text that travels with the data")
    report = models.JSONField(default=dict, help_text="what ingestion checked and found")
    stored_bytes = models.BigIntegerField(default=0, help_text="of its files in storage")
    created_at = models.DateTimeField()
    frozen_at = models.DateTimeField(null=True, blank=True)

    objects = WithoutReports()

    class Meta:
        base_manager_name = "objects"
        constraints = [models.UniqueConstraint(fields=["challenge", "name", "version"], name="testsets_version")]

    def __str__(self) -> str:
        return f"{self.challenge.slug}/{self.name} v{self.version}"


class Case(models.Model):
    """One scan. `inputs`: [{name, key, sha256, bytes}] (the input images an algorithm sees, by modality name);
    `references`: the same shape (one label map, or one file per structure); `grid`: {shape, spacing_mm, affine}."""

    testset = models.ForeignKey(TestSet, on_delete=models.CASCADE, related_name="cases")
    case_id = models.CharField(max_length=120)
    position = models.PositiveIntegerField()
    inputs = models.JSONField(default=list)
    references = models.JSONField(default=list)
    grid = models.JSONField(default=dict)
    attributes = models.JSONField(default=dict, help_text="site, age band, sex, vendor, …")

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["testset", "case_id"], name="testsets_case_once")]

    def __str__(self) -> str:
        return self.case_id


class AgreementText(models.Model):
    """What is signed before a test set is downloaded, as it stood. See `agreements.py`."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="agreement_texts")
    testset_name = models.SlugField(max_length=80)
    text = models.TextField()
    sha256 = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["challenge", "testset_name", "sha256"], name="testsets_agreement_text_once")
        ]

    def __str__(self) -> str:
        return f"agreement for {self.testset_name} of {self.challenge}"


class Signature(models.Model):
    """Somebody signed an agreement. One that has ended stays: it is the proof of what held when."""

    class End(models.TextChoices):
        WITHDRAWN = "withdrawn"  # by the person, who may sign again
        REVOKED = "revoked"  # by an organizer, until an organizer lets it hold again

    agreement = models.ForeignKey(AgreementText, on_delete=models.CASCADE, related_name="signatures")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="signatures")
    name = models.CharField(max_length=160, help_text="the name they signed with")
    at = models.DateTimeField()
    end = models.CharField(max_length=10, blank=True, default="", choices=End, help_text="empty: it holds")
    ended_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=300, blank=True, default="", help_text="why it was revoked")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["agreement", "user"], condition=~models.Q(end="withdrawn"), name="testsets_signed_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} signed the {self.agreement}"


class Download(models.Model):
    """Somebody began to download a test set. Nobody is named where it needs no sign-in."""

    testset = models.ForeignKey(TestSet, on_delete=models.CASCADE, related_name="downloads")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="downloads"
    )
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.testset} by {self.user or 'a stranger'}"


class PhaseTestSet(models.Model):
    """Which test set a phase uses."""

    phase = models.OneToOneField(Phase, on_delete=models.CASCADE, related_name="chosen_testset")
    testset = models.ForeignKey(TestSet, on_delete=models.PROTECT, related_name="phases")
    chosen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.phase} uses {self.testset}"
