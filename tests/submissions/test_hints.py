"""What organizers are told of teams that may be one, and what keeps a second account from being a second set of attempts."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.test import RequestFactory
from django.urls import reverse

import factories
from assay.accounts.errors import ConflictError, LimitReachedError
from assay.accounts.models import AuditEvent
from assay.accounts.origins import origin_of
from assay.runs.models import CaseRun, Run
from assay.runs.selectors import predictions_digest
from assay.submissions.hints import forget_origins, hints_of, mail_pattern
from assay.submissions.models import AlgorithmImage, Submission
from assay.submissions.selectors import eligibility_of
from assay.submissions.services import Entry, create_submission
from assay.workflow import flow
from markup import markup


@pytest.fixture
def otto(scene):
    """Otto takes part in a team of his own."""
    team = factories.team(name="Otto alone", members=[scene.otto])
    factories.membership(challenge=scene.challenge, user=scene.otto, team=team)
    return team


def entered(scene, team, **fields) -> Submission:
    return factories.submission(phase=scene.phase, team=team, status="done", **fields)


def found(scene) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(hint.kind, hint.teams, hint.submissions) for hint in hints_of(scene.challenge)]


BOTH = ("Otto alone", "Pia and friends")


def test_teams_that_differ_in_everything_give_no_hint(scene, otto):
    for team, mark in ((scene.team, "a"), (otto, "b")):
        entered(scene, team, origin_hash=mark, predictions_sha256=mark, image=factories.image(team=team))
        entered(scene, team, origin_hash=mark, predictions_sha256=mark, image=factories.image(team=team))
    assert found(scene) == []


@pytest.mark.parametrize(
    ("kind", "fields"), [("predictions", {"predictions_sha256": "p"}), ("address", {"origin_hash": "o"})]
)
def test_the_same_predictions_and_the_same_address_are_hints(scene, otto, kind, fields):
    for team in (scene.team, otto):
        entered(scene, team, **fields)
    assert found(scene) == [(kind, BOTH, ("final #1", "final #2"))]


def test_the_same_image_is_known_by_its_own_name_whatever_archive_it_came_in(scene, otto):
    for team in (scene.team, otto):
        entered(scene, team, image=factories.image(team=team, uploaded_image_id="sha256:same"))
    assert found(scene) == [("image", BOTH, ("final #1", "final #2"))]


def test_verified_addresses_of_one_pattern_are_a_hint_and_others_are_none(scene, otto):
    for user, email, verified in (
        (scene.pia, "ada.lovelace+one@example.org", True),
        (scene.otto, "AdaLovelace2@example.org", False),
    ):
        EmailAddress.objects.create(user=user, email=email, verified=verified, primary=True)
    assert found(scene) == []
    EmailAddress.objects.update(verified=True)
    assert found(scene) == [("mail", BOTH, ())]


@pytest.mark.parametrize(
    ("email", "pattern"),
    [
        ("Ada.Lovelace+flare2@Example.org", "adalovelace@example.org"),
        ("ada_lovelace17@example.org", "adalovelace@example.org"),
        ("ab1@example.org", ""),
        ("ada@lab.example.org", "ada@lab.example.org"),
    ],
)
def test_a_pattern_leaves_out_what_is_easily_varied(email, pattern):
    assert mail_pattern(email) == pattern


@pytest.mark.parametrize("teams", [2, 6])
def test_hints_cost_two_queries_however_many_teams(scene, otto, teams, django_assert_num_queries):
    for _ in range(teams):
        entered(scene, factories.team(members=[factories.user()]), origin_hash="o")
    with django_assert_num_queries(2):
        (hint,) = hints_of(scene.challenge)
    assert len(hint.teams) == teams
    assert len(hint.submissions) <= 6


def test_organizers_see_hints_with_a_reason_and_nobody_else_does(scene, otto, client):
    for team in (scene.team, otto):
        entered(scene, team, origin_hash="feedfacefeedface")
    url = reverse("organizers:people", args=[scene.challenge.slug])
    client.force_login(scene.olga)
    page = markup(client.get(url))
    assert "Submitted from the same network address." in page
    assert "feedface" not in page
    client.force_login(scene.pia)
    assert client.get(url).status_code == 403


# ---- where a submission came from ------------------------------------------------------------------------------------


def request_from(address: str):
    return RequestFactory().get("/", REMOTE_ADDR=address)


def test_an_address_is_kept_as_a_keyed_hash_of_one_challenge(settings):
    here = origin_of(request_from("192.0.2.7"), challenge_id=1)
    assert here == origin_of(request_from("192.0.2.7"), challenge_id=1)
    assert len({here, origin_of(request_from("192.0.2.8"), challenge_id=1)}) == 2
    assert origin_of(request_from("192.0.2.7"), challenge_id=2) != here
    settings.SECRET_KEY = "another"
    assert origin_of(request_from("192.0.2.7"), challenge_id=1) != here
    settings.ORIGIN_DAYS = 0
    assert origin_of(request_from("192.0.2.7"), challenge_id=1) == ""


def test_of_ipv6_the_network_is_what_counts():
    one, two = (origin_of(request_from(f"2001:db8::{end}"), challenge_id=1) for end in ("1", "ffff"))
    assert one == two


def test_hashes_of_addresses_are_forgotten_after_their_time(scene, settings, now):
    settings.ORIGIN_DAYS = 30
    old = entered(scene, scene.team, origin_hash="o", created_at=now - timedelta(days=31))
    new = entered(scene, scene.team, origin_hash="o", created_at=now - timedelta(days=29))
    assert forget_origins(now=now) == 1
    assert [row.origin_hash for row in Submission.objects.filter(pk__in=[old.pk, new.pk]).order_by("created_at")] == [
        "",
        "o",
    ]


def test_what_a_run_wrote_has_one_digest_whatever_its_files_are_called(scene, otto):
    digests = []
    for team, names, hashes in (
        (scene.team, ("x", "y"), ("1", "2")),
        (otto, ("p", "q"), ("1", "2")),
        (otto, ("x", "y"), ("2", "1")),
    ):
        row = entered(scene, team)
        run = Run.objects.create(submission=row, number=1, pool="default", created_at=factories.NOW)
        for position, case in enumerate(row.testset.cases.all()):
            outputs = [{"name": names[position], "key": "k", "sha256": hashes[position], "bytes": 1}]
            CaseRun.objects.create(run=run, case=case, position=position, pool="default", outputs=outputs)
        digests.append(predictions_digest(run.pk))
    assert digests[0] == digests[1] != digests[2]
    assert predictions_digest(None) == ""


# ---- verified addresses ----------------------------------------------------------------------------------------------


def submit(scene, *, user, team, upload, now):
    return create_submission(Entry(user=user, phase=scene.phase, team=team, upload=upload, name="x"), now=now)


def test_where_mail_is_sent_a_submission_counts_once_its_address_is_verified(scene, settings, now):
    settings.EMAIL_HOST, settings.PUBLIC_URL = "mail.example.org", "https://assay.example.org"
    upload = factories.complete_upload(user=scene.pia)
    with pytest.raises(ConflictError, match="Your mail address is not verified yet") as refusal:
        submit(scene, user=scene.pia, team=scene.team, upload=upload, now=now)
    assert "https://assay.example.org/account/address/" in refusal.value.what_to_do
    EmailAddress.objects.create(user=scene.pia, email=scene.pia.email, verified=True, primary=True)
    submit(scene, user=scene.pia, team=scene.team, upload=upload, now=now)


def test_without_mail_nobody_is_asked(scene, now, settings):
    settings.EMAIL_HOST = ""
    assert eligibility_of(person=scene.pia, phase=scene.phase, now=now).can_submit


# ---- attempts of one image -------------------------------------------------------------------------------------------


@pytest.fixture
def counting(scene):
    scene.phase.counts_same_image, scene.phase.submission_limit_total = True, 1
    scene.phase.save()
    return scene.phase


@pytest.mark.parametrize("counts", [True, False])
def test_the_same_file_by_another_team_uses_up_the_attempts_where_the_phase_says_so(scene, otto, counting, now, counts):
    counting.counts_same_image = counts
    counting.save()
    sha256 = factories.digest("one archive")
    submit(
        scene, user=scene.pia, team=scene.team, upload=factories.complete_upload(user=scene.pia, sha256=sha256), now=now
    )
    again = factories.complete_upload(user=scene.otto, sha256=sha256)
    if not counts:
        submit(scene, user=scene.otto, team=otto, upload=again, now=now)
        return
    with pytest.raises(LimitReachedError, match="the same image by other teams counts, 1 of them"):
        submit(scene, user=scene.otto, team=otto, upload=again, now=now)
    other = factories.complete_upload(user=scene.otto, sha256=factories.digest("another"))
    submit(scene, user=scene.otto, team=otto, upload=other, now=now)


def checked(submission: Submission, image_id: str) -> bool:
    """The checker has found which image the archive holds; whether the submission goes on."""
    Submission.objects.filter(pk=submission.pk).update(status="checking")
    values = {"uploaded_image_id": image_id, "status": AlgorithmImage.Status.ACCEPTED}
    AlgorithmImage.objects.filter(pk=submission.image_id).update(**values)
    flow.finish_check(submission_id=submission.pk, now=factories.NOW)
    submission.refresh_from_db()
    return submission.status == Submission.Status.QUEUED


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_same_image_in_another_archive_is_found_when_it_is_checked_and_one_of_two_goes_on(
    scene, otto, counting, now, order
):
    both = [
        submit(scene, user=user, team=team, upload=factories.complete_upload(user=user), now=now)
        for user, team in ((scene.pia, scene.team), (scene.otto, otto))
    ]
    assert [checked(both[place], "sha256:same") for place in order] == [True, False]
    refused = both[order[1]]
    assert (refused.status, refused.verdict, refused.is_charged) == ("failed", "image_invalid", False)
    assert "other teams have submitted this very image" in refused.verdict_text
    assert AuditEvent.objects.filter(verb="submission.failed", object_id=str(refused.pk)).exists()


def test_teams_with_images_of_their_own_do_not_share_attempts(scene, otto, counting, now):
    for user, team in ((scene.pia, scene.team), (scene.otto, otto)):
        row = submit(scene, user=user, team=team, upload=factories.complete_upload(user=user), now=now)
        assert checked(row, f"sha256:{team.slug}")
