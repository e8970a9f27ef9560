"""Rows for tests: one function per noun, keyword-only, every argument optional, nothing random.

`import factories` works in every test (the folder is on pytest's path).
"""

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from assay.accounts.models import Team, TeamMember, User
from assay.challenges.models import Challenge, Membership, Phase, ProtocolVersion
from assay.challenges.services import MARKDOWN_TEXTS
from assay.challenges.texts import render_markdown
from assay.evaluations.models import Evaluation
from assay.leaderboards.models import Leaderboard, LeaderboardEntry
from assay.leaderboards.standing import note_standing
from assay.submissions.models import AlgorithmImage, Submission, Upload
from assay.testsets.models import AgreementText, Case, PhaseTestSet, Signature, TestSet

NOW = datetime.now(UTC).replace(microsecond=0)
"""When this process began. Rows play on the machine's clock, like the services, pages and workers that read them: a fixed date
here would be years ago one day. Pure functions are asked about fixed dates, in modules that never read the clock."""
NUMBERS = count(1)
PROTOCOL: dict[str, Any] = {
    "protocol": 1,
    "name": "two-label-test",
    "title": "Two labels",
    "labels": {"core": {"values": 1, "tolerance_mm": 1}, "rim": {"values": 2, "tolerance_mm": 1}},
    "inputs": [{"name": "t1", "file": "{case}.nii.gz", "required": True}],
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}],
    "resources": {"run_mode": "case", "wall_seconds": 30, "memory_mb": 512, "cpus": 1},
    "release": "per_case",
}
PROTOCOL_TEXT = json.dumps(PROTOCOL)  # JSON is YAML
GRID: dict[str, Any] = {
    "shape": [4, 4, 4],
    "spacing_mm": [1.0, 1.0, 1.0],
    "affine": [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]],
}


def digest(text: str) -> str:
    """A stable sha256 for things that only need one."""
    return hashlib.sha256(text.encode()).hexdigest()


def user(*, username: str = "", is_staff: bool = False, password: str | None = None, **fields: Any) -> User:
    name = username or f"person{next(NUMBERS)}"
    fields = {"email": f"{name}@example.org", "display_name": name.title()} | fields
    row = User(username=name, is_staff=is_staff, **fields)
    row.set_password(password)
    row.save()
    return row


def team(*, name: str = "", members: Sequence[User] = ()) -> Team:
    title = name or f"Team {next(NUMBERS)}"
    row = Team.objects.create(name=title, slug=title.lower().replace(" ", "-"), created_at=NOW)
    for number, member in enumerate(members):
        TeamMember.objects.create(team=row, user=member, is_captain=number == 0, joined_at=NOW)
    return row


def challenge(*, slug: str = "", organizer: User | None = None, **fields: Any) -> Challenge:
    name = slug or f"challenge-{next(NUMBERS)}"
    creator = organizer or user()
    fields = {"title": name.title(), "status": Challenge.Status.PUBLISHED, "created_at": NOW} | fields
    rendered = {f"{name}_html": render_markdown(fields.get(name, "")) for name in MARKDOWN_TEXTS}
    row = Challenge.objects.create(slug=name, created_by=creator, **fields | rendered)
    membership(challenge=row, user=creator, role=Membership.Role.ORGANIZER)
    return row


def membership(*, challenge: Challenge, user: User, team: Team | None = None, **fields: Any) -> Membership:
    fields = {"role": Membership.Role.PARTICIPANT, "created_at": NOW} | fields
    return Membership.objects.create(challenge=challenge, user=user, team=team, **fields)


def protocol(*, challenge: Challenge, document: dict[str, Any] | None = None) -> ProtocolVersion:
    number = challenge.protocols.count() + 1
    document = deepcopy(document or PROTOCOL)  # a test that changes its protocol changes no other test's
    return ProtocolVersion.objects.create(
        challenge=challenge,
        version=number,
        document=document,
        sha256=protocol_hash(challenge, document, number=number),
        created_at=NOW,
    )


def rewrite_protocol(version: ProtocolVersion, document: dict[str, Any]) -> None:
    """Another text under the same number, which nobody but a test does: with another hash, as every text has its own."""
    version.document = document
    version.sha256 = protocol_hash(version.challenge, document, number=version.version)
    version.save()


def protocol_hash(challenge: Challenge, document: dict[str, Any], *, number: int) -> str:
    """Of the text and whose it is, so that a challenge may have the same one twice."""
    return digest(f"{challenge.slug} {number} {json.dumps(document, sort_keys=True)}")


def phase(*, challenge: Challenge, slug: str = "", testset: TestSet | None = None, **fields: Any) -> Phase:
    name = slug or f"phase-{next(NUMBERS)}"
    fields = {"title": name.title(), "opens_at": NOW - timedelta(days=7), "closes_at": NOW + timedelta(days=7)} | fields
    fields.setdefault("protocol", challenge.protocols.last() or protocol(challenge=challenge))
    row = Phase.objects.create(challenge=challenge, slug=name, **fields)
    if testset is not None:
        PhaseTestSet.objects.create(phase=row, testset=testset, chosen_at=NOW)
    return row


def with_testset(row: Phase) -> Phase:
    """Give a phase that has none a test set."""
    PhaseTestSet.objects.create(phase=row, testset=testset(challenge=row.challenge), chosen_at=NOW)
    return row


def testset(
    *, challenge: Challenge, name: str = "hidden", case_ids: Sequence[str] = ("a", "b"), **fields: Any
) -> TestSet:
    number = challenge.testsets.filter(name=name).count() + 1
    fields = {"created_at": NOW, "sha256": digest(f"{challenge.slug} {name} {number}")} | fields
    row = TestSet.objects.create(challenge=challenge, name=name, version=number, **fields)
    for position, case_id in enumerate(case_ids):
        Case.objects.create(
            testset=row,
            case_id=case_id,
            position=position,
            inputs=[{"name": "t1", "key": f"testsets/{case_id}/t1.nii.gz", "sha256": digest(case_id), "bytes": 10}],
            references=[
                {
                    "name": "segmentation",
                    "key": f"testsets/{case_id}/reference.nii.gz",
                    "sha256": digest(case_id),
                    "bytes": 10,
                }
            ],
            grid=GRID,
            attributes={"site": "A" if position % 2 == 0 else "B"},
        )
    return row


def signature(*, challenge: Challenge, user: User, name: str = "training") -> Signature:
    """Somebody's agreement for a test set, as the challenge words it."""
    text = challenge.agreements[name]
    agreement, _ = AgreementText.objects.get_or_create(
        challenge=challenge, testset_name=name, sha256=digest(text), defaults={"text": text, "at": NOW}
    )
    return Signature.objects.create(agreement=agreement, user=user, name=str(user), at=NOW)


def upload(*, user: User, **fields: Any) -> Upload:
    number = next(NUMBERS)
    values = {"purpose": Upload.Purpose.IMAGE, "filename": "image.tar", "total_bytes": 10, "created_at": NOW}
    values |= {"expires_at": NOW + timedelta(days=3), "key": f"uploads/{number}"} | fields
    return Upload.objects.create(user=user, **values)


def complete_upload(*, user: User, **fields: Any) -> Upload:
    values = {"offset_bytes": 10, "sha256": digest(f"archive {next(NUMBERS)}"), "completed_at": NOW} | fields
    return upload(user=user, **values)


def image(*, team: Team, **fields: Any) -> AlgorithmImage:
    number = next(NUMBERS)
    values = {
        "archive_sha256": digest(f"archive {number}"),
        "image_id": f"sha256:{digest(f'image {number}')}",
        "rewritten_key": f"images/{number}.tar",
        "rewritten_sha256": digest(f"rewritten {number}"),
        "rewritten_bytes": 10,
        "status": AlgorithmImage.Status.ACCEPTED,
        "created_at": NOW,
    }
    return AlgorithmImage.objects.create(team=team, **(values | fields))


def submission(*, phase: Phase, team: Team, user: User | None = None, **fields: Any) -> Submission:
    values = {
        "challenge": phase.challenge,
        "submitted_by": user or team.members.first(),
        "name": f"Algorithm of {team.name}",
        "number": phase.submissions.count() + 1,
        "protocol": phase.protocol,
        "testset": phase.chosen_testset.testset,
        "limits": phase.protocol.document.get("resources", {}),
        "created_at": NOW,
        "status_changed_at": NOW,
    } | fields
    if "image" not in values and "predictions" not in values:
        values["image"] = image(team=team)
    return Submission.objects.create(phase=phase, team=team, **values)


def _lone_team() -> Team:
    return team(members=[user()])


def entry(*, phase: Phase, rank: float | None, team: Team | None = None, **fields: Any) -> LeaderboardEntry:
    """A row of a leaderboard, with the submission and the evaluation it stands for."""
    row = submission(phase=phase, team=team or _lone_team(), status="done")
    evaluation = Evaluation.objects.create(
        submission=row,
        number=1,
        protocol=phase.protocol,
        testset=row.testset,
        status="done",
        is_active=True,
        created_at=NOW,
    )
    values = {"metrics": {"dice": {"mean": 0.123456}}, "rebuilt_at": NOW} | fields
    made = LeaderboardEntry.objects.create(phase=phase, submission=row, evaluation=evaluation, rank=rank, **values)
    settle_board(phase)
    return made


def settle_board(phase: Phase) -> None:
    """Work out what the phase's board is sorted by, as a rebuild does for the entries it writes."""
    entries = list(LeaderboardEntry.objects.filter(phase=phase))
    best = note_standing(entries, phase=phase)
    LeaderboardEntry.objects.bulk_update(entries, ["means", "told_rank"], batch_size=500)
    Leaderboard.objects.update_or_create(phase=phase, defaults={"best": best, "asked_at": NOW})
