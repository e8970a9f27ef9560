"""Published rankings. Entries are rebuilt from active evaluations and never edited. Snapshots keep history."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from assay.challenges.models import Phase, ProtocolVersion
from assay.evaluations.models import Evaluation
from assay.leaderboards.words import UNFINISHED, Facts
from assay.submissions.models import Submission

MOST_TRIES = 2
"""A rebuild that has not ended so often is set aside, until its protocol changes or an operator lets it go on."""

REPORT_SET_ASIDE = models.Q(report_failed=models.F("answered")) | models.Q(
    report_tried=models.F("answered"), report_tries__gte=MOST_TRIES
)
"""As `Leaderboard.report_trouble` says it, for queries."""


class LeaderboardEntry(models.Model):
    """One submission's row in a phase's ranking. `rank` is NULL when unranked (disqualified, nothing scored, not the team's best).

    A phase that shows its board on a part, until its results are released, has rows of both: see `parts.py`.
    """

    class Part(models.TextChoices):
        WHOLE = "whole"
        SHOWN = "shown"

    part = models.CharField(max_length=5, choices=Part, default=Part.WHOLE)
    phase = models.ForeignKey(Phase, on_delete=models.CASCADE, related_name="entries")
    submission = models.ForeignKey(Submission, on_delete=models.CASCADE, related_name="entries")
    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="entries")
    rank = models.FloatField(null=True, blank=True, help_text="from 1; shared ranks may be fractions, by the protocol")
    score = models.FloatField(null=True, blank=True)
    metrics = models.JSONField(default=dict, help_text="{metric: {mean, sd, n, per_label: {…}, per_site: {…}}}")
    statistics = models.JSONField(default=dict, help_text="rank interval, separability from the next, …")
    means = models.JSONField(default=dict, help_text="{view: {metric: mean}}, what pages sort by: see standing.py")
    division_rank = models.FloatField(null=True, blank=True, help_text="among its division alone")
    told_division_rank = models.FloatField(null=True, blank=True, help_text="the same, as `told_rank`")
    told_rank = models.FloatField(null=True, blank=True, help_text="the rank participants see where cases are closed")
    failed_cases = models.PositiveIntegerField(default=0)
    case_count = models.PositiveIntegerField(default=0)
    seconds_per_case = models.FloatField(null=True, blank=True)
    peak_memory_bytes = models.BigIntegerField(null=True, blank=True)
    rebuilt_at = models.DateTimeField()

    class Meta:
        ordering = [models.F("rank").asc(nulls_last=True)]
        constraints = [models.UniqueConstraint(fields=["submission", "part"], name="leaderboards_row_once")]
        indexes = [
            models.Index(fields=["phase", "rank"], name="leaderboards_phase_rank"),
            models.Index(fields=["phase", "told_rank"], name="leaderboards_phase_told_rank"),
        ]

    def __str__(self) -> str:
        return f"{self.rank or '–'} {self.submission}"


class Leaderboard(models.Model):
    """Whether a phase's entries are up to date: `asked` counts the reasons to rebuild, `answered` those the entries reflect."""

    phase = models.OneToOneField(Phase, on_delete=models.CASCADE, related_name="leaderboard")
    asked = models.BigIntegerField(default=0)
    answered = models.BigIntegerField(default=0)
    asked_at = models.DateTimeField()
    rebuilt_at = models.DateTimeField(null=True, blank=True)
    best = models.JSONField(default=dict, help_text="{view: {metric: best mean}} of the ranked entries")
    best_shown = models.JSONField(default=dict, help_text="the same of the shown part, where there is one")
    shown_cases = models.CharField(max_length=64, blank=True, help_text="hash of the public cases it is about")
    trouble = models.JSONField(
        default=dict, blank=True, help_text="why the last rebuild failed, see words.py; for organizers"
    )
    lack = models.JSONField(default=dict, blank=True, help_text="what the ranking lacks, see words.py; for everybody")
    replicates = models.PositiveIntegerField(null=True, blank=True, help_text="resamplings behind its intervals")
    tries = models.PositiveIntegerField(default=0, help_text="rebuilds begun since the last one that ended well")
    tried_protocol = models.ForeignKey(
        ProtocolVersion,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="what they ranked by",
    )
    report_failed = models.BigIntegerField(
        null=True, blank=True, help_text="`answered` of the ranking whose report failed"
    )
    report_failure = models.JSONField(
        default=dict, blank=True, help_text="why that report failed, see words.py; for organizers"
    )
    report_tried = models.BigIntegerField(
        null=True, blank=True, help_text="`answered` of the ranking whose report was begun last"
    )
    report_tries = models.PositiveIntegerField(default=0, help_text="how often it was begun and did not end")

    def __str__(self) -> str:
        return f"leaderboard of {self.phase}"

    @property
    def is_set_aside(self) -> bool:
        """Whether its rebuild ended its worker, or failed, too often under the protocol the phase still has."""
        return self.tries >= MOST_TRIES and self.tried_protocol_id == self.phase.protocol_id

    @property
    def report_trouble(self) -> Facts:
        """Why the report of the ranking as it stands is not made again by itself. Empty when nothing is wrong with it."""
        if self.report_failed == self.answered:
            facts: Facts = self.report_failure
            return facts
        has_ended_twice = self.report_tried == self.answered and self.report_tries >= MOST_TRIES
        return UNFINISHED if has_ended_twice else {}


class Snapshot(models.Model):
    """A leaderboard as it stood: the whole document, hashed and signed, for history and prizes."""

    class Cause(models.TextChoices):
        RANKING_CHANGED = "ranking_changed", _("the ranking changed")
        RESULTS_FINAL = "results_final", _("the results are final")

    phase = models.ForeignKey(Phase, on_delete=models.CASCADE, related_name="snapshots")
    taken_at = models.DateTimeField()
    cause = models.CharField(max_length=20, choices=Cause)
    document = models.JSONField()
    sha256 = models.CharField(max_length=64)
    signature = models.CharField(max_length=128)

    class Meta:
        ordering = ["-taken_at"]

    def __str__(self) -> str:
        return f"{self.phase} at {self.taken_at:%Y-%m-%d %H:%M}"
