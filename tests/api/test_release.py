"""Boards that show a part until the results are released: public cases, a freeze, and what the release opens."""

import difflib
import io
import re
import zipfile
from datetime import timedelta

import pytest
from django.urls import reverse

import factories
from assay.accounts.errors import ConflictError
from assay.challenges.models import Phase
from assay.challenges.services import due_releases
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards import parts, scores
from assay.leaderboards.models import LeaderboardEntry
from assay.leaderboards.order import Wanted
from assay.leaderboards.selectors import leaderboard
from assay.leaderboards.services import ask_for_rebuild, rebuild_leaderboard
from assay.submissions.models import Submission
from assay.testsets.models import Case
from assay.testsets.split import public_cases
from assay.workflow import flow
from assay.workflow.workers import reaper

pytestmark = pytest.mark.django_db
MEANS = {"aggregate": {**factories.PROTOCOL, "release": "aggregate"}, "per_case": factories.PROTOCOL}
NOW = factories.NOW


@pytest.fixture
def phase(scene) -> Phase:
    """Four cases, of which `a` and `b` are public; single cases would be released."""
    scores.forget_scores()
    testset = factories.testset(challenge=scene.challenge, name="four", case_ids=["a", "b", "c", "d"])
    for row in Case.objects.filter(testset=testset):
        row.attributes = {"split": "public" if row.case_id in "ab" else "private"}
        row.save()
    return factories.phase(
        challenge=scene.challenge, slug="split", testset=testset, public_percent=50,
        opens_at=NOW - timedelta(days=9), closes_at=NOW - timedelta(hours=1),
    )  # fmt: skip


def enter(phase, *, public, private, team=None, **fields) -> Submission:
    team = team or factories.team(members=[factories.user()])
    submission = factories.submission(phase=phase, team=team, status="done", **fields)
    mean = (public + private) / 2
    evaluation = Evaluation.objects.create(
        submission=submission, number=1, protocol=submission.protocol, testset=submission.testset, status="done",
        is_active=True, created_at=NOW, aggregates={"dice": {"mean": mean, "per_label": {}}}, receipt={"receipt": 1, "public_key": "k", "signature": "s"},
    )  # fmt: skip
    for case in submission.testset.cases.all():
        level = public if case.case_id in "ab" else private
        values = [[label, "dice", level, ""] for label in ("core", "rim")]
        CaseScores.objects.create(evaluation=evaluation, case=case, scores=values)
    return submission


def rebuild(phase) -> None:
    ask_for_rebuild(phase_id=phase.pk, now=NOW)
    assert rebuild_leaderboard(phase_id=phase.pk, now=NOW)


def ranks(phase, *, is_organizer=False, **wanted) -> dict[int, float | None]:
    phase.refresh_from_db()
    board = leaderboard(phase, is_organizer=is_organizer, now=NOW, wanted=Wanted(**wanted))
    return {row.number: row.rank for row in board.entries}


def test_the_private_cases_decide_at_the_release(phase, scene):
    enter(phase, public=0.9, private=0.1)
    enter(phase, public=0.6, private=0.8)
    rebuild(phase)
    assert ranks(phase) == {1: 1, 2: 2}
    assert ranks(phase, is_organizer=True) == {2: 1, 1: 2}
    assert ranks(phase, is_organizer=True, as_participant=True) == {1: 1, 2: 2}
    flow.release_results(phase=phase, by=scene.olga, now=NOW)
    assert ranks(phase) == {2: 1, 1: 2}
    rebuild(phase)
    assert ranks(phase) == {2: 1, 1: 2}
    assert not LeaderboardEntry.objects.filter(part="shown").exists()


def test_a_rebuild_works_out_the_public_part_of_new_evaluations_alone(phase, monkeypatch):
    asked = []
    work_out = parts.public_aggregates
    monkeypatch.setattr(
        parts, "public_aggregates", lambda rows, **more: asked.append(len(rows)) or work_out(rows, **more)
    )
    enter(phase, public=0.9, private=0.1)
    rebuild(phase)
    enter(phase, public=0.8, private=0.1)
    rebuild(phase)
    assert asked == [1, 1]
    assert ranks(phase) == {1: 1, 2: 2}


def test_nothing_is_shown_between_a_push_that_splits_and_the_rebuild(phase):
    phase.public_percent = None
    phase.save()
    enter(phase, public=0.9, private=0.1)
    rebuild(phase)
    assert ranks(phase) == {1: 1}
    Phase.objects.filter(pk=phase.pk).update(public_percent=50)
    assert ranks(phase) == {}


PAGES = ("portal:phase", "portal:leaderboard", "portal:report")


def body(answer) -> str:
    """What an answer says. Of an archive, its files: the archive itself has the time in it."""
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    if answer.get("Content-Type") == "application/zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return "\n".join(f"{name} {archive.read(name).decode()}" for name in archive.namelist())
    return content.decode()


def surface(client, api, phase, submission) -> str:
    """Everything its team can open of the submission and the board, one after the other."""
    here = [phase.challenge.slug, phase.slug]
    urls = [reverse(name, args=here) for name in PAGES]
    urls += [
        reverse("portal:leaderboard", args=here) + tail for tail in ("?format=csv", "?sort=-dice", "?participant=1")
    ]
    urls += [reverse("portal:submission", args=[submission.pk]) + tail for tail in ("", "?format=csv")]
    urls += [
        reverse("portal:challenge", args=here[:1]),
        reverse("portal:home"),
        reverse("portal:compare", args=here) + "?s=1&s=2",
    ]
    calls = [f"/submissions/{submission.pk}{tail}" for tail in ("", "/cases", "/receipt", "/logs")]
    calls += [
        f"/challenges/{here[0]}/phases/{here[1]}{tail}"
        for tail in ("", "/leaderboard", "/leaderboard/export?layout=kits")
    ]
    answers = [client.get(url) for url in urls] + [api("GET", path) for path in calls]
    assert not [answer for answer in answers if answer.status_code >= 500]
    text = "\n".join(f"{answer.status_code} {body(answer)}" for answer in answers)
    text = re.sub(r"(in )?\d+ (s|min|h|d)\w*( ago)?", "", text)  # a clock runs on between two looks
    return re.sub(r'csrfmiddlewaretoken" value="\w+"|X-CSRFToken": "\w+"|nonce="[^"]+"|nonce-[^\']+', "", text)


def differing(looks: set[str]) -> list[str]:
    """The lines in which they differ."""
    first, *others = sorted(looks)
    return [
        line
        for other in others
        for line in difflib.unified_diff(first.splitlines(), other.splitlines(), n=0, lineterm="")
    ]


def retell(phase, submission, *, public, private) -> None:
    """Other scores of the same submission, as if its algorithm had done otherwise."""
    evaluation = submission.evaluations.get()
    mean = (public + private) / 2
    Evaluation.objects.filter(pk=evaluation.pk).update(
        aggregates={"dice": {"mean": mean, "per_label": {"core": {"mean": mean}}}}
    )
    for row in CaseScores.objects.filter(evaluation=evaluation).select_related("case"):
        level = public if row.case.case_id in "ab" else private
        row.scores = [[label, "dice", level, ""] for label in ("core", "rim")]
        row.save()
    scores.forget_scores()
    LeaderboardEntry.objects.filter(phase=phase).delete()
    rebuild(phase)


@pytest.mark.parametrize("release", ["aggregate", "per_case"])
def test_private_cases_leak_nothing_before_the_release(phase, scene, client, calling_as, release):
    phase.protocol = factories.protocol(challenge=scene.challenge, document=MEANS[release])
    phase.save()
    mine = enter(phase, public=0.7, private=0.5, team=scene.team)
    other = enter(phase, public=0.6, private=0.4)
    client.force_login(scene.pia)
    api = calling_as(scene.pia)
    looks = set()
    for of_mine, of_other in ((0.5, 0.4), (0.1, 0.9), (0.0, 1.0)):
        retell(phase, other, public=0.6, private=of_other)
        retell(phase, mine, public=0.7, private=of_mine)
        looks.add(surface(client, api, phase, mine))
    assert "\n".join(differing(looks)) == ""
    retell(phase, mine, public=0.8, private=0.5)  # the yes beside the no
    looks.add(surface(client, api, phase, mine))
    assert len(looks) == 2
    flow.release_results(phase=phase, by=scene.olga, now=NOW)
    rebuild(phase)
    before = surface(client, api, phase, mine)
    retell(phase, mine, public=0.8, private=0.1)
    assert surface(client, api, phase, mine) != before


@pytest.fixture
def frozen(phase) -> Phase:
    """It closes in an hour and was frozen four hours ago."""
    Phase.objects.filter(pk=phase.pk).update(public_percent=None, freeze_hours=5, closes_at=NOW + timedelta(hours=1))
    phase.refresh_from_db()
    return phase


def test_a_frozen_board_takes_no_later_submission_up(frozen, scene, client, calling_as):
    mine = enter(frozen, public=0.5, private=0.5, team=scene.team, created_at=NOW - timedelta(hours=6))
    late = enter(frozen, public=0.9, private=0.9, created_at=NOW - timedelta(hours=2))
    rebuild(frozen)
    assert ranks(frozen) == {1: 1}
    assert ranks(frozen, is_organizer=True) == {2: 1, 1: 2}
    client.force_login(scene.pia)
    api = calling_as(scene.pia)
    looks = set()
    for level in (0.9, 0.2):
        retell(frozen, late, public=level, private=level)
        looks.add(surface(client, api, frozen, mine))
    assert "\n".join(differing(looks)) == ""
    with pytest.raises(ConflictError, match="when the phase is over"):
        flow.release_results(phase=frozen, by=scene.olga, now=NOW)


def test_the_reaper_releases_what_is_due_once(phase):
    enter(phase, public=0.9, private=0.1)
    rebuild(phase)
    reaper.release_due_results(now=NOW)
    phase.refresh_from_db()
    assert phase.released_at == NOW
    assert not due_releases(now=NOW).exists()


@pytest.mark.parametrize(
    "waits",
    [
        {"releases_at": NOW + timedelta(days=1)},
        {"late_until": NOW + timedelta(days=1)},
        {"is_embargoed": True},
        {"is_embargoed": True, "embargo_until": NOW + timedelta(days=1)},
        {"public_percent": None},
    ],
)
def test_a_release_waits_for_its_time_the_late_ones_and_the_embargo(phase, waits):
    assert due_releases(now=NOW).exists()
    Phase.objects.filter(pk=phase.pk).update(**waits)
    assert not due_releases(now=NOW).exists()


def test_a_release_that_was_taken_back_does_not_come_again_by_itself(phase, scene):
    enter(phase, public=0.9, private=0.1)
    flow.release_results(phase=phase, by=scene.olga, now=NOW)
    flow.take_back_release(phase=phase, by=scene.olga, now=NOW)
    assert not due_releases(now=NOW).exists()
    phase.refresh_from_db()
    assert phase.has_shown_part


def verdicts(phase, scene, *opened) -> None:
    document = {**factories.PROTOCOL, "release": "verdict_only"}
    phase.protocol = factories.protocol(challenge=scene.challenge, document=document)
    phase.public_percent, phase.release_after = None, list(opened)
    phase.save()


def test_a_board_of_verdicts_opens_with_its_release(phase, scene):
    verdicts(phase, scene, "boards")
    enter(phase, public=0.9, private=0.123456)
    rebuild(phase)
    assert ranks(phase) == {}
    flow.release_results(phase=phase, by=scene.olga, now=NOW)
    assert ranks(phase) == {1: 1}
    row = leaderboard(phase, is_organizer=False, now=NOW).entries[0]
    assert (row.metrics["dice"]["mean"], row.failed_cases) == (0.512, None)


@pytest.mark.parametrize(
    ("opened", "codes"), [((), (404, 404, 302)), (("boards", "submissions", "reports"), (200, 200, 202))]
)
def test_a_release_opens_what_it_says_and_nothing_else(phase, scene, client, calling_as, opened, codes):
    verdicts(phase, scene, *opened)
    other = enter(phase, public=0.9, private=0.1)
    rebuild(phase)
    client.force_login(scene.pia)
    page, call = reverse("portal:submission", args=[other.pk]), f"/submissions/{other.pk}"
    report = reverse("portal:report", args=[scene.challenge.slug, phase.slug])
    assert client.get(page).status_code == 404
    flow.release_results(phase=phase, by=scene.olga, now=NOW)
    api = calling_as(scene.pia)
    assert (client.get(page).status_code, api("GET", call).status_code, client.get(report).status_code) == codes
    if opened:
        assert api("GET", f"{call}/cases").json() == []
        assert api("GET", call).json()["image"] is None
    for closed in ("/receipt", "/logs"):
        assert api("GET", call + closed).status_code == 404
    assert api("POST", f"{call}/cancel").status_code == 404


def test_cases_open_with_the_release_for_their_own_team(phase, scene, calling_as):
    verdicts(phase, scene, "cases")
    mine = enter(phase, public=0.9, private=0.1, team=scene.team)
    api = calling_as(scene.pia)
    assert api("GET", f"/submissions/{mine.pk}").json()["metrics"] is None
    flow.release_results(phase=phase, by=scene.olga, now=NOW)
    assert api("GET", f"/submissions/{mine.pk}").json()["metrics"]["dice"]["mean"] == 0.5
    assert api("GET", f"/submissions/{mine.pk}/receipt").status_code == 200


def test_a_part_is_found_again_and_never_all_or_nothing():
    cases = [(f"c{number}", {}) for number in range(10)]
    for percent, expected in ((1, 1), (30, 3), (31, 4), (99, 9)):
        found = public_cases(testset_sha256="x", cases=cases, percent=percent)
        assert len(found) == expected
        assert found == public_cases(testset_sha256="x", cases=cases[::-1], percent=percent)
    assert public_cases(testset_sha256="x", cases=cases, percent=30) != public_cases(
        testset_sha256="y", cases=cases, percent=30
    )
