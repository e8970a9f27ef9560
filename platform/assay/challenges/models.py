"""What is competed in: challenges, their phases, the rules (protocol versions), and who takes part as what."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models

from assay.accounts.models import Team
from assay.accounts.moments import moments_in_range
from assay.challenges.contact import link_of


class Challenge(models.Model):
    """A competition."""

    class Status(models.TextChoices):
        DRAFT = "draft"
        PUBLISHED = "published"
        ARCHIVED = "archived"

    slug = models.SlugField(max_length=80, unique=True)
    title = models.CharField(max_length=160)
    summary = models.CharField(max_length=300, blank=True)
    description = models.TextField(blank=True, help_text="Markdown")
    rules = models.TextField(blank=True, help_text="Markdown")
    description_html = models.TextField(blank=True, editable=False, help_text="rendered by challenges/texts.py")
    rules_html = models.TextField(blank=True, editable=False, help_text="rendered by challenges/texts.py")
    citation = models.TextField(blank=True)
    licence = models.CharField(max_length=160, blank=True)
    contact = models.CharField(
        max_length=254, blank=True, help_text="a mail address or an https address: see contact.py"
    )
    modality = models.CharField(max_length=80, blank=True)
    anatomy = models.CharField(max_length=80, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    requires_approval = models.BooleanField(default=False)
    is_private = models.BooleanField(default=False, help_text="only those who were invited or take part see it")
    questions = models.JSONField(default=list, blank=True, help_text="what is asked of everybody who joins")
    allow = models.JSONField(default=list, blank=True, help_text="addresses and domains; empty: everybody")
    deny = models.JSONField(default=list, blank=True, help_text="addresses and domains that may not join")
    auto_accept = models.JSONField(
        default=list, blank=True, help_text="addresses and domains that nobody decides about"
    )
    rules_version = models.PositiveIntegerField(
        default=0, help_text="0: rules are read; from 1 on they are accepted, and again when the number rises"
    )
    team_size = models.PositiveIntegerField(default=0, help_text="most people of one team; 0: no limit")
    merge_until = models.DateTimeField(null=True, blank=True, help_text="until when two teams may become one")
    agreements = models.JSONField(default=dict, blank=True, help_text="name of a test set → what is signed for it")
    pages = models.JSONField(default=list, blank=True, help_text="further pages: slug, title, text in Markdown")
    pages_html = models.JSONField(
        default=dict, editable=False, help_text="slug → HTML, rendered by challenges/texts.py"
    )
    logo = models.SlugField(max_length=80, blank=True, help_text="name of a picture")
    banner = models.SlugField(max_length=80, blank=True, help_text="name of a picture")
    sponsors = models.JSONField(default=list, blank=True, help_text="name, address and picture of each")
    tasks = models.JSONField(default=list, blank=True, help_text="title, last day and whether it is done, of each")
    combined = models.JSONField(default=list, blank=True, help_text="boards over several phases: see combined.py")
    timezone = models.CharField(max_length=60, default="UTC", help_text="of times written without a zone")
    source = models.TextField(blank=True, help_text="challenge.yaml as it was applied last, comments included")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    quota_run_hours = models.PositiveIntegerField(null=True, blank=True, help_text="empty: the installation's")

    def __str__(self) -> str:
        return self.title

    @property
    def contact_link(self) -> str:
        """Where the contact leads. Empty where an old row has a text that leads nowhere."""
        return link_of(self.contact)


class Announcement(models.Model):
    """What organizers tell everybody who takes part. It stays on the challenge's pages. See `announcements.py`."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="announcements")
    title = models.CharField(max_length=160)
    text = models.TextField(help_text="Markdown")
    text_html = models.TextField(editable=False, help_text="rendered by challenges/texts.py")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["challenge", "-at"], name="challenges_news_newest")]

    def __str__(self) -> str:
        return self.title


class Picture(models.Model):
    """A small picture of a challenge's pages, in the form that `pictures.py` writes. Texts name it as `picture:NAME`."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="pictures")
    name = models.SlugField(max_length=80)
    content = models.BinaryField(help_text="PNG or JPEG, written by us")
    content_type = models.CharField(max_length=20, choices=[(v, v) for v in ("image/png", "image/jpeg")])
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    added_at = models.DateTimeField()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["challenge", "name"], name="challenges_picture_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.challenge}"


class Topic(models.Model):
    """A question or remark on a challenge's board, with the posts below it. See `discussion.py`."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="topics")
    title = models.CharField(max_length=160)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField()
    last_post_at = models.DateTimeField()
    is_pinned = models.BooleanField(default=False)
    is_locked = models.BooleanField(default=False, help_text="no further posts")

    class Meta:
        ordering = ["-is_pinned", "-last_post_at", "-pk"]
        indexes = [models.Index(fields=["challenge", "-last_post_at"], name="challenges_topic_newest")]

    def __str__(self) -> str:
        return self.title


class Post(models.Model):
    """What somebody wrote under a topic. The first one opens it."""

    topic = models.ForeignKey(Topic, on_delete=models.CASCADE, related_name="posts")
    text = models.TextField(help_text="Markdown")
    text_html = models.TextField(editable=False, help_text="rendered by challenges/texts.py")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField()
    removed_at = models.DateTimeField(null=True, blank=True)
    removed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    reason = models.CharField(max_length=300, blank=True, help_text="why moderators removed it; everybody reads it")
    edited_at = models.DateTimeField(null=True, blank=True, help_text="when its author changed it last")

    class Meta:
        ordering = ["at", "pk"]
        indexes = [models.Index(fields=["topic", "at"], name="challenges_post_oldest")]

    def __str__(self) -> str:
        return f"{self.by} on {self.topic}"


class FormerText(models.Model):
    """What a post said before its author changed it. Moderators read it."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="former_texts")
    text = models.TextField(help_text="Markdown")
    until = models.DateTimeField(help_text="when it was changed")

    class Meta:
        ordering = ["until", "pk"]

    def __str__(self) -> str:
        return f"{self.post} until {self.until:%Y-%m-%d %H:%M}"


class PublicationRequest(models.Model):
    """Somebody asked that a draft be published, on an installation where operators decide that. See `publication.py`."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="publication_requests")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    asked_at = models.DateTimeField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    is_approved = models.BooleanField(null=True, help_text="empty until an operator has decided")
    reason = models.CharField(max_length=300, blank=True, help_text="the organizers read it")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["challenge"],
                condition=models.Q(is_approved=None),
                name="challenges_one_open_publication_request",
            )
        ]

    def __str__(self) -> str:
        return f"publication of {self.challenge}"

    @property
    def state(self) -> str:
        """Where it stands, in one word."""
        return {None: "waiting", True: "approved", False: "refused"}[self.is_approved]


class Pool(models.Model):
    """A pool of nodes that belongs to somebody: only these people's challenges, and these challenges, may use it.

    A pool without a row is everybody's. See `pools.py`.
    """

    name = models.CharField(max_length=40, unique=True)
    note = models.CharField(max_length=200, blank=True, help_text="whose machines these are; organizers read it")
    people = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="owned_pools")
    challenges = models.ManyToManyField(Challenge, blank=True, related_name="granted_pools")

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's part in a challenge."""

    class Role(models.TextChoices):
        ORGANIZER = "organizer"
        EDITOR = "editor"
        REVIEWER = "reviewer"
        PARTICIPANT = "participant"

    class Status(models.TextChoices):
        PENDING = "pending"
        ACCEPTED = "accepted"
        REJECTED = "rejected"
        BANNED = "banned"

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="challenge_memberships")
    role = models.CharField(max_length=12, choices=Role)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACCEPTED)
    team = models.ForeignKey(
        Team, null=True, blank=True, on_delete=models.PROTECT, related_name="challenge_memberships"
    )
    reason = models.CharField(max_length=300, blank=True)
    answers = models.JSONField(default=list, blank=True, help_text="question and answer, as both were when they joined")
    rules_version = models.PositiveIntegerField(default=0, help_text="the last version of the rules they accepted")
    rules_accepted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["challenge", "user"], name="challenges_membership_once")]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} of {self.challenge}"


class RulesText(models.Model):
    """The rules as they stood under one number. A text that changes under the same number is a further row."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="rules_texts")
    version = models.PositiveIntegerField()
    text = models.TextField()
    sha256 = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        ordering = ["version", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["challenge", "version", "sha256"], name="challenges_rules_text_once")
        ]

    def __str__(self) -> str:
        return f"rules {self.version} of {self.challenge}"


class RulesAcceptance(models.Model):
    """Somebody accepted a text of the rules. Kept for as long as the challenge is."""

    rules = models.ForeignKey(RulesText, on_delete=models.CASCADE, related_name="acceptances")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="rules_acceptances")
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["rules", "user"], name="challenges_rules_accepted_once")]

    def __str__(self) -> str:
        return f"{self.user} accepted {self.rules}"


class ChallengeInvite(models.Model):
    """A link that lets people see and join a challenge without a decision. Only its hash is stored."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="invites")
    email = models.EmailField(blank=True, help_text="whom it was mailed to; empty: a link that anybody may hold")
    token_hash = models.CharField(max_length=64, unique=True)
    uses_left = models.PositiveIntegerField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    people = models.ManyToManyField(settings.AUTH_USER_MODEL, through="InvitedPerson", related_name="challenge_invites")

    def __str__(self) -> str:
        return f"{self.email or 'a link'} to {self.challenge}"


class InvitedPerson(models.Model):
    """Somebody opened an invite while they were signed in: from then on they see the challenge."""

    invite = models.ForeignKey(ChallengeInvite, on_delete=models.CASCADE, related_name="used")
    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="invited")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="invited_to")
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["challenge", "user"], name="challenges_invited_once")]

    def __str__(self) -> str:
        return f"{self.user} was invited to {self.challenge}"


class TeamMerge(models.Model):
    """A team asks to become part of another one in a challenge. See `workflow/operations/merging.py`."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="merges")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="merges_asked", help_text="the one that ends")
    into = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="merges_offered")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    asked_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)
    is_accepted = models.BooleanField(null=True, help_text="empty until the other captain has decided")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["challenge", "team"],
                condition=models.Q(is_accepted=None),
                name="challenges_one_open_merge",
            )
        ]

    def __str__(self) -> str:
        return f"{self.team} into {self.into} in {self.challenge}"


class ProtocolVersion(models.Model):
    """One immutable protocol document: everything that decides a number. See `evaluator/protocol/rules.py`."""

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="protocols")
    version = models.PositiveIntegerField()
    document = models.JSONField()
    source = models.TextField(blank=True, help_text="the YAML as it was pushed, comments included")
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["challenge", "version"], name="challenges_protocol_version"),
            models.UniqueConstraint(fields=["challenge", "sha256"], name="challenges_protocol_content"),
        ]

    def __str__(self) -> str:
        return f"{self.challenge.slug} protocol v{self.version}"


class Phase(models.Model):
    """One stage of a challenge with its own rules, limits and leaderboard. Its test set is chosen in `testsets`."""

    class Kind(models.TextChoices):
        CONTAINER = "container"
        PREDICTIONS = "predictions"

    challenge = models.ForeignKey(Challenge, on_delete=models.CASCADE, related_name="phases")
    slug = models.SlugField(max_length=80)
    title = models.CharField(max_length=160)
    position = models.PositiveIntegerField(default=0)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.CONTAINER)
    protocol = models.ForeignKey(ProtocolVersion, on_delete=models.PROTECT, related_name="phases")
    opens_at = models.DateTimeField()
    closes_at = models.DateTimeField()
    submission_limit = models.PositiveIntegerField(null=True, blank=True, help_text="per team and window; empty: none")
    submission_window_days = models.PositiveIntegerField(default=1, help_text="length of the rolling window")
    submission_limit_total = models.PositiveIntegerField(
        null=True, blank=True, help_text="per team over the whole phase"
    )
    counts_same_image = models.BooleanField(
        default=False, help_text="submissions of the same file or image by other teams use up a team's attempts too"
    )
    concurrent_limit = models.PositiveIntegerField(default=1, help_text="unfinished submissions per team")
    budget_hours = models.PositiveIntegerField(null=True, blank=True, help_text="on nodes, of all teams together")
    team_budget_hours = models.PositiveIntegerField(null=True, blank=True, help_text="on nodes, of each team")
    budget_gib = models.PositiveIntegerField(null=True, blank=True, help_text="images and predictions of all teams")
    team_budget_gib = models.PositiveIntegerField(
        null=True, blank=True, help_text="images and predictions of each team"
    )
    running_limit = models.PositiveIntegerField(null=True, blank=True, help_text="cases of the phase running at once")
    running_limit_per_team = models.PositiveIntegerField(
        null=True, blank=True, help_text="cases of one team running at once in the phase"
    )
    max_image_bytes = models.BigIntegerField(default=20 * 2**30)
    pool = models.CharField(max_length=40, default="default", help_text="which run pool executes it")
    priority = models.IntegerField(default=0)
    needs = models.JSONField(default=list, blank=True, help_text="what a node has to have: see needs.py")
    leaderboard_shows = models.CharField(
        max_length=6, choices=[(v, v) for v in ("best", "latest", "all", "chosen")], default="best"
    )
    requires = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="gated_phases",
        help_text="a team submits here once it was scored there; see gates.py",
    )
    requires_rank = models.PositiveIntegerField(
        null=True, blank=True, help_text="the worst rank there with which a team goes on; empty: any"
    )
    late_until = models.DateTimeField(
        null=True, blank=True, help_text="submissions after closing are taken until then, scored and not ranked"
    )
    divisions = models.JSONField(default=list, blank=True, help_text="names; each has ranks of its own")
    freeze_hours = models.PositiveIntegerField(
        null=True, blank=True, help_text="hours before closing from which on the shown board takes no submission up"
    )
    public_percent = models.PositiveIntegerField(
        null=True, blank=True, help_text="of the cases: what the shown board is about until the release"
    )
    releases_at = models.DateTimeField(
        null=True, blank=True, help_text="when results are released; empty: when the phase is over"
    )
    release_after = models.JSONField(
        default=list, blank=True, help_text="what the release opens: boards, cases, submissions, reports"
    )
    released_at = models.DateTimeField(null=True, blank=True, help_text="when results were released")
    review_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="days after the release in which teams may object; empty: results are final"
    )
    finalized_at = models.DateTimeField(null=True, blank=True, help_text="when the review was over and answered")
    carry_over = models.CharField(
        max_length=6, choices=[(v, v) for v in ("none", "best", "chosen", "team")], default="none"
    )
    carried_at = models.DateTimeField(null=True, blank=True, help_text="when images of the phase before were entered")
    keep_images_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="after the phase's end; empty: no limit. See workflow/flow/keeping.py"
    )
    keep_predictions_days = models.PositiveIntegerField(null=True, blank=True, help_text="the same of predictions")
    keep_logs_days = models.PositiveIntegerField(null=True, blank=True, help_text="the same of containers' logs")
    testset_name = models.SlugField(
        max_length=80, blank=True, help_text="which test set it uses; see testsets.PhaseTestSet"
    )
    is_paused = models.BooleanField(default=False)
    is_archived = models.BooleanField(default=False, help_text="over for good: shown, but takes no submissions")
    is_embargoed = models.BooleanField(default=False, help_text="results exist, only organizers see them")
    embargo_until = models.DateTimeField(null=True, blank=True, help_text="the embargo lifts by itself at this time")
    published_at = models.DateTimeField(null=True, blank=True, help_text="when an organizer lifted the embargo by hand")
    is_anonymous = models.BooleanField(default=False)

    class Meta:
        ordering = ["position", "opens_at"]
        constraints = [
            models.UniqueConstraint(fields=["challenge", "slug"], name="challenges_phase_slug"),
            models.CheckConstraint(
                condition=models.Q(opens_at__lt=models.F("closes_at")), name="challenges_phase_opens_before_closing"
            ),
            moments_in_range("challenges_phase_times", "opens_at", "closes_at", "embargo_until", "published_at"),
            moments_in_range("challenges_phase_late_times", "late_until"),
            moments_in_range("challenges_phase_release_times", "releases_at", "released_at"),
            models.CheckConstraint(
                condition=models.Q(releases_at=None) | models.Q(releases_at__gte=models.F("closes_at")),
                name="challenges_phase_release_after_closing",
            ),
            models.CheckConstraint(
                condition=models.Q(released_at=None) | models.Q(released_at__gte=models.F("closes_at")),
                name="challenges_phase_released_after_closing",
            ),
            models.CheckConstraint(
                condition=models.Q(public_percent=None) | models.Q(public_percent__gte=1, public_percent__lte=99),
                name="challenges_phase_public_part",
            ),
            models.CheckConstraint(
                condition=models.Q(freeze_hours=None) | models.Q(freeze_hours__gte=1), name="challenges_phase_freeze"
            ),
            models.CheckConstraint(
                condition=models.Q(release_after__contained_by=["boards", "cases", "submissions", "reports"]),
                name="challenges_phase_release_after",
            ),
            moments_in_range("challenges_phase_review_times", "finalized_at", "carried_at"),
            models.CheckConstraint(
                condition=models.Q(finalized_at=None) | models.Q(released_at__isnull=False),
                name="challenges_phase_final_after_release",
            ),
            models.CheckConstraint(
                condition=models.Q(review_days=None) | models.Q(review_days__gte=1), name="challenges_phase_review"
            ),
            models.CheckConstraint(
                condition=models.Q(carry_over="none") | models.Q(requires__isnull=False),
                name="challenges_phase_carries_from_a_phase",
            ),
            models.CheckConstraint(
                condition=models.Q(late_until=None) | models.Q(late_until__gt=models.F("closes_at")),
                name="challenges_phase_late_after_closing",
            ),
            models.CheckConstraint(
                condition=models.Q(requires=None) | ~models.Q(requires=models.F("pk")),
                name="challenges_phase_requires_another",
            ),
            models.CheckConstraint(
                condition=models.Q(requires_rank=None) | models.Q(requires__isnull=False, requires_rank__gte=1),
                name="challenges_phase_rank_of_a_phase",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.challenge.slug}/{self.slug}"

    @property
    def requires_phase(self) -> str:
        """The slug of the phase that teams have to have passed. Empty where there is none."""
        return self.requires.slug if self.requires is not None else ""

    def is_open(self, now: datetime) -> bool:
        """Whether it is between opening and closing."""
        return self.opens_at <= now < self.closes_at

    @property
    def freezes_at(self) -> datetime | None:
        """From when on the shown board takes no submission up."""
        return None if self.freeze_hours is None else self.closes_at - timedelta(hours=self.freeze_hours)

    @property
    def has_shown_part(self) -> bool:
        """Whether participants see another board than organizers: of the public cases, or as it stood at the freeze."""
        return self.released_at is None and (self.public_percent is not None or self.freeze_hours is not None)

    @property
    def has_private_cases(self) -> bool:
        """Whether participants see results of the public cases alone."""
        return self.released_at is None and self.public_percent is not None

    @property
    def review_ends_at(self) -> datetime | None:
        """Until when teams may object to the results."""
        if self.released_at is None or self.review_days is None:
            return None
        return self.released_at + timedelta(days=self.review_days)

    def is_in_review(self, now: datetime) -> bool:
        """Whether teams may object now."""
        return self.finalized_at is None and self.review_ends_at is not None and now < self.review_ends_at

    def opens_after(self, what: str) -> bool:
        """Whether the release has opened `what`: boards, cases, submissions or reports."""
        return self.released_at is not None and what in self.release_after

    def is_over(self, now: datetime) -> bool:
        """Whether it has closed, for late submissions too."""
        return now >= (self.late_until or self.closes_at)

    def shows_results(self, now: datetime) -> bool:
        """Whether people other than organizers see results: there is no embargo, or it is over."""
        return not self.is_embargoed or (self.embargo_until is not None and self.embargo_until <= now)
