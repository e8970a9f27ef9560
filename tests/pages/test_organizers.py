"""The organizer console: Olga may, Pia and Otto may not, and every change leaves a line in the audit log."""

import io
import json
import re
import uuid

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.urls import reverse

import factories
import image_archives
import people
from assay.accounts.models import AuditEvent
from assay.challenges.definition import parse_definition
from assay.challenges.models import Challenge
from assay.evaluation_sites.joining import words_for
from assay.evaluations.models import Evaluation, MetricImage
from assay.leaderboards.models import Snapshot
from assay.leaderboards.rejudging import RankMove
from assay.leaderboards.services import take_snapshot
from assay.organizers.rejudging import Row
from assay.organizers.telemetry import usage_charts
from assay.pages.tables import PAGE
from assay.runs.models import CaseRun, Run
from assay.signatures import SignatureInvalid, check_signature, public_key_text
from assay.submissions.models import Submission
from assay.testsets.storage import save_file
from containers.spec import Curve, Usage
from markup import markup

pytestmark = pytest.mark.django_db
PAGES = ["overview", "document", "testsets", "metric-images", "code-parts", "submissions", "people", "sites", "audit"]


@pytest.fixture
def cast():
    return people.scene()


@pytest.fixture
def as_olga(client, cast):
    client.force_login(cast.olga)
    return client


@pytest.mark.parametrize("name", PAGES)
def test_olga_sees_every_page_and_pia_and_otto_see_none(client, cast, name):
    url = reverse(f"organizers:{name}", args=[cast.challenge.slug])
    answers = {}
    for person in ("olga", "pia", "otto", "stan"):
        client.force_login(getattr(cast, person))
        answers[person] = client.get(url).status_code
    assert answers == {"olga": 200, "pia": 403, "otto": 403, "stan": 200}


def test_a_stranger_is_asked_to_sign_in(client, cast):
    answer = client.get(reverse("organizers:overview", args=[cast.challenge.slug]))
    assert answer.status_code == 302


def test_publishing_results_is_one_click_and_one_audit_line(as_olga, cast):
    as_olga.post(reverse("organizers:phase-action", args=[cast.challenge.slug, cast.phase.slug]), {"action": "publish"})
    cast.phase.refresh_from_db()
    assert cast.phase.published_at is not None
    assert AuditEvent.objects.filter(verb__startswith="phase.", actor=cast.olga).count() == 1


def test_a_look_at_what_would_run_again_is_shown_again_and_runs_nothing(as_olga, cast):
    factories.submission(phase=cast.phase, team=cast.team, status="done", name="nnU-Net")
    factories.phase(challenge=cast.challenge, slug="next", testset=factories.testset(challenge=cast.challenge))
    url = reverse("organizers:after", args=["brains", "next"])
    asked = {"action": "plan", "source": "brains/final", "which": "all"}
    answer = as_olga.post(url, asked, headers={"Referer": f"http://testserver{url}"})
    assert (answer.status_code, answer["Location"]) == (302, url)
    for _visit in range(2):
        page = markup(as_olga.get(url))
        assert ("nnU-Net" in page, 'value="rerun"' in page) == (True, True)
    as_olga.get("/help/")
    assert "nnU-Net" not in markup(as_olga.get(url))
    assert Submission.objects.count() == 1


def test_pausing_and_resuming(as_olga, cast):
    url = reverse("organizers:phase-action", args=[cast.challenge.slug, cast.phase.slug])
    as_olga.post(url, {"action": "pause"})
    cast.phase.refresh_from_db()
    assert cast.phase.is_paused
    as_olga.post(url, {"action": "resume"})
    cast.phase.refresh_from_db()
    assert not cast.phase.is_paused


def test_a_challenge_made_from_the_form_can_be_pushed_as_it_stands(as_olga, cast):
    answers = {
        "form": "1",
        "title": "Livers",
        "slug": "livers",
        "labels": "liver = 1, 5",
        "kind": "container",
        "days": 30,
    }
    answers |= {"wall_seconds": 60, "memory_mb": 1024, "summary": "Find the liver."}
    source = as_olga.post(reverse("organizers:new"), answers).context["source"]
    assert as_olga.post(reverse("organizers:new"), {"source": source, "dry_run": "1"}).context["plan"]
    assert not Challenge.objects.filter(slug="livers").exists()
    as_olga.post(reverse("organizers:new"), {"source": source, "apply": "1"})
    made = Challenge.objects.get(slug="livers")
    label = made.phases.get().protocol.document["labels"][0]
    assert (label["name"], label["tolerance_mm"]) == ("liver", 5)


def test_the_form_names_predictions_after_their_case(as_olga):
    answers = {
        "form": "1",
        "title": "Livers",
        "slug": "livers",
        "labels": "liver = 1",
        "kind": "predictions",
        "days": 30,
    }
    source = as_olga.post(reverse("organizers:new"), answers | {"wall_seconds": 60, "memory_mb": 1024}).context[
        "source"
    ]
    assert parse_definition(source).phases[0].protocol.output_files("c1") == {"segmentation": "c1.nii.gz"}


def test_a_broken_file_names_the_line(as_olga, cast):
    page = markup(as_olga.post(reverse("organizers:new"), {"source": "slug: x\ntitle: [unclosed\n", "dry_run": "1"}))
    assert "Line" in page


def test_disqualifying_needs_a_reason_and_shows_it_to_the_team(as_olga, cast):
    submission = factories.submission(phase=cast.phase, team=cast.team, status="done")
    url = reverse("organizers:submission", args=[cast.challenge.slug, submission.pk])
    as_olga.post(url, {"action": "disqualify", "reason": "trained on the test set"})
    submission.refresh_from_db()
    assert submission.is_disqualified
    assert submission.disqualified_reason == "trained on the test set"


def test_accepting_a_person_who_asked(client, cast):
    cast.challenge.requires_approval = True
    cast.challenge.save()
    client.force_login(cast.otto)
    client.post(reverse("portal:join", args=[cast.challenge.slug]))
    membership = cast.challenge.memberships.get(user=cast.otto)
    assert membership.status == "pending"
    client.force_login(cast.olga)
    client.post(
        reverse("organizers:people", args=[cast.challenge.slug]), {"membership": membership.pk, "status": "accepted"}
    )
    membership.refresh_from_db()
    assert membership.status == "accepted"


@pytest.mark.catalogue(
    61, attack="a log with markup on the organizers page", verdict="plain text", guard="escaped by the template"
)
def test_only_operators_open_the_operations_page(client, cast):
    answers = {}
    for person in ("olga", "stan"):
        client.force_login(getattr(cast, person))
        answers[person] = client.get(reverse("organizers:operations")).status_code
    assert answers == {"olga": 403, "stan": 200}


def test_inviting_a_site_shows_its_code_once(as_olga, cast):
    url = reverse("organizers:sites", args=[cast.challenge.slug])
    entry = {"name": "st-mary", "title": "St Mary's Hospital", "phase": cast.phase.slug}
    assert "assay site join" in markup(as_olga.post(url, entry, follow=True))
    assert "assay site join" not in markup(as_olga.get(url))
    assert cast.phase.site_codes.count() == 1


def test_organizers_read_why_a_site_declined_or_recalled(as_olga, cast):
    site = cast.phase.evaluation_sites.create(name="h", title="H", token_hash="x", created_at=factories.NOW)
    for status, reason in (("declined", "unsuitable hardware: no GPU"), ("recalled", "wrong labels"), ("queued", "x")):
        submission = factories.submission(phase=cast.phase, team=cast.team, status="done")
        site.evaluations.create(submission=submission, status=status, reason=reason, created_at=factories.NOW)
    page = markup(as_olga.get(reverse("organizers:sites", args=["brains"])))
    assert "unsuitable hardware: no GPU" in page
    assert "wrong labels" in page
    assert len(re.findall(r"<td> ?declined ?</td>", page)) == len(re.findall(r"<td> ?recalled ?</td>", page)) == 1


def test_memory_curves_are_aligned_and_carry_their_limit(cast):
    submission = factories.submission(phase=cast.phase, team=cast.team)
    run = Run.objects.create(submission=submission, number=1, pool="default", created_at=factories.NOW)
    cases = list(submission.testset.cases.all())
    for position, (seconds, values) in enumerate([([0.0, 1.0], [2**20, 3 * 2**20]), ([0.5], [5 * 2**20])]):
        usage = Usage(peak_memory_bytes=max(values), memory_curve=Curve(seconds=tuple(seconds), values=tuple(values)))
        CaseRun.objects.create(run=run, case=cases[position], position=position, usage=usage)
    (chart,) = usage_charts(submission)
    assert chart["series"] == ["a", "b", "limit"]
    assert chart["data"] == [[0.0, 0.5, 1.0], [1, None, 3], [None, 5, None], [512, 512, 512]]


def test_what_the_gpu_did_is_drawn_beside_the_memory_where_it_was_measured(as_olga, cast):
    submission = factories.submission(phase=cast.phase, team=cast.team, limits={"memory_mb": 512, "gpu_memory_mb": 16})
    run = Run.objects.create(submission=submission, number=1, pool="default", created_at=factories.NOW)
    usage = Usage(
        memory_curve=Curve(seconds=(0.0,), values=(2**20,)),
        gpu_memory_curve=Curve(seconds=(0.0, 0.1), values=(2**21, 2**22)),
        gpu_utilisation_curve=Curve(seconds=(0.0, 0.1), values=(5.0, 97.0)),
    )
    CaseRun.objects.create(run=run, case=submission.testset.cases.first(), position=0, usage=usage)
    memory, gpu_memory, utilisation = usage_charts(submission)
    assert (memory["title"], gpu_memory["title"]) == ("Memory while running", "GPU memory")
    assert gpu_memory["data"] == [[0.0, 0.1], [2.0, 4.0], [16.0, 16.0]]
    assert (utilisation["series"], utilisation["data"], utilisation["limits"]) == (["a"], [[0.0, 0.1], [5.0, 97.0]], [])
    page = markup(as_olga.get(reverse("organizers:submission", args=[cast.challenge.slug, submission.pk])))
    assert page.count("data-chart=") == 3
    assert page.index("uPlot.iife") < page.index(
        "pages/assay.js"
    )  # deferred scripts run in order: ours needs the library
    assert "GPU utilisation" in page


def test_volumes_of_a_case_leave_for_organizers_only(client, cast, files):
    submission = factories.submission(phase=cast.phase, team=cast.team)
    key = submission.testset.cases.get(case_id="a").references[0]["key"]
    (files / key).parent.mkdir(parents=True)
    (files / key).write_bytes(b"the hidden reference")
    url = reverse(
        "organizers:case-file", args=[cast.challenge.slug, submission.pk, "a", "reference", "segmentation.nii.gz"]
    )
    answers = {}
    for person in ("olga", "pia", "otto"):
        client.force_login(getattr(cast, person))
        answer = client.get(url)
        answers[person] = answer.status_code
        if answer.streaming:
            assert b"".join(answer.streaming_content) == b"the hidden reference"
    assert answers == {"olga": 200, "pia": 403, "otto": 404}
    client.force_login(cast.olga)
    assert client.get(url.replace("segmentation", "..%2Fkeys")).status_code == 404


def test_rejudging_says_what_waits_and_never_activates_nothing(as_olga, cast):
    url = reverse("organizers:rejudge", args=[cast.challenge.slug, cast.phase.slug])
    assert "Nothing waits to be activated" in markup(as_olga.get(url))
    page = markup(as_olga.post(url, {"action": "activate"}, follow=True))
    assert "nothing complete to activate" in page


@pytest.mark.parametrize(
    ("fault", "reason", "facts", "words"),
    [
        ("organizer", "reference_invalid", {}, "a reference of its test set cannot be used"),
        ("organizer", "metrics_failed", {}, "your own metric image failed"),
        ("organizer", "build_fault", {"detail": "no wheel of numpy"}, "could not be built from your base image"),
        ("platform", "platform_fault", {}, "a fault of ours"),
    ],
)
def test_what_needs_an_organizer_says_what_went_wrong(as_olga, cast, fault, reason, facts, words):
    factories.submission(phase=cast.phase, team=cast.team, status="failed", fault=fault, reason=reason, facts=facts)
    assert words in markup(as_olga.get(reverse("organizers:overview", args=["brains"])))


def test_the_page_takes_up_what_failed_by_no_fault_of_its_team(as_olga, cast):
    lost = factories.submission(phase=cast.phase, team=cast.team, status="failed", fault="organizer")
    factories.submission(phase=cast.phase, team=cast.team, status="failed", fault="participant")
    url = reverse("organizers:rejudge", args=[cast.challenge.slug, cast.phase.slug])
    assert "1 submission failed by no fault of its team." in markup(as_olga.get(url))
    assert "1 submission is going on" in markup(as_olga.post(url, {"action": "resume"}, follow=True))
    lost.refresh_from_db()
    assert lost.status == "received"
    assert "no fault" not in markup(as_olga.get(url))


def test_moves_say_how_far_and_the_farthest_come_first():
    def row(number: int, before: float | None, after: float | None) -> Row:
        scores = {"score_before": 0.5, "score_after": 0.75 if after else None}
        ranks = {"rank_before": before, "rank_after": after}
        return Row(move=RankMove(submission_id=uuid.uuid4(), number=number, team="t", name="n", **ranks, **scores))

    rows = sorted([row(1, 1, 1), row(2, 2, 4), row(3, 3, 2.5), row(4, None, 3), row(5, 5, None)], key=Row.order)
    assert [(r.move.number, r.by) for r in rows] == [
        (5, "leaves the ranking"),
        (4, "joins the ranking"),
        (2, "down 2"),
        (3, "up 0.5"),
        (1, "stays"),
    ]
    assert [r.score_change for r in rows] == [None, 0.25, 0.25, 0.25, 0.25]


def test_a_submission_that_failed_by_our_fault_is_taken_up_on_its_page(as_olga, cast):
    lost = factories.submission(phase=cast.phase, team=cast.team, status="failed", fault="platform")
    url = reverse("organizers:submission", args=[cast.challenge.slug, lost.pk])
    assert "Take it up again" in markup(as_olga.get(url))
    assert "1 of 1 go on" in markup(as_olga.post(url, {"action": "resume"}, follow=True))
    assert "0 of 1 go on" in markup(as_olga.post(url, {"action": "resume"}, follow=True))


def test_every_scoring_of_a_submission_stays_readable_and_says_what_was_wrong(as_olga, cast):
    done = factories.entry(phase=cast.phase, rank=1).submission
    Evaluation.objects.create(
        submission=done,
        number=2,
        protocol=cast.phase.protocol,
        testset=done.testset,
        status="failed",
        error="case b: the reference cannot be used",
        created_at=factories.NOW,
    )
    Evaluation.objects.filter(number=1).update(aggregates={"dice": {"mean": 0.25}})
    page = markup(as_olga.get(reverse("organizers:submission", args=[cast.challenge.slug, done.pk])))
    assert "case b: the reference cannot be used" in page
    assert "<td>counts</td>" in page
    Evaluation.objects.filter(number=2).update(status="done", error="")
    again = markup(as_olga.get(reverse("organizers:submission", args=[cast.challenge.slug, done.pk])))
    assert "<td>does not count yet</td>" in again
    assert "dice 0.250" in page


def test_logs_are_listed_with_failures_first_and_read_as_plain_text_by_organizers_alone(client, cast):
    submission = factories.submission(phase=cast.phase, team=cast.team, status="done")
    run = Run.objects.create(submission=submission, number=1, status="done", pool="default", created_at=factories.NOW)
    rows = {}
    for position, (case, verdict) in enumerate(zip(submission.testset.cases.all(), ("ok", "timeout"), strict=True)):
        key = f"logs/{position}"
        if verdict == "timeout":
            save_file(key=key, stream=io.BytesIO(b"<b>hello</b>\x1b[2J"), max_bytes=100)
        rows[verdict] = CaseRun.objects.create(
            run=run, case=case, position=position, pool="default", status="done", verdict=verdict, log_key=key
        )
    address = {
        verdict: reverse("organizers:log", args=[cast.challenge.slug, submission.pk, row.pk])
        for verdict, row in rows.items()
    }
    client.force_login(cast.olga)
    page = markup(client.get(reverse("organizers:submission", args=[cast.challenge.slug, submission.pk])))
    assert 0 < page.index(address["timeout"]) < page.index(address["ok"])
    answer = client.get(address["timeout"])
    assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == ("text/plain; charset=utf-8", "nosniff")
    assert markup(answer).startswith("<b>hello</b>")
    assert b"\x1b" not in answer.content
    assert client.get(address["ok"]).status_code == 404
    client.force_login(cast.pia)
    assert client.get(address["timeout"]).status_code == 403


def test_a_snapshot_is_downloaded_and_holds_on_another_machine(as_olga, cast, settings):
    factories.entry(phase=cast.phase, rank=1, score=0.1 + 0.2)
    snapshot = take_snapshot(phase=cast.phase, cause=Snapshot.Cause.RANKING_CHANGED, now=factories.NOW)
    page = markup(as_olga.get(reverse("organizers:rejudge", args=[cast.challenge.slug, cast.phase.slug])))
    assert "How the ranking stood before" in page
    address = f"/api/v1/challenges/brains/phases/final/leaderboard/history/{snapshot.pk}"
    assert f'href="{address}"' in page
    document = json.loads(as_olga.get(address).content)
    key = json.loads(as_olga.get("/api/v1/keys").content)["ed25519"]
    check_signature(document, public_key=key)
    document["entries"][0]["rank"] = 2
    with pytest.raises(SignatureInvalid):
        check_signature(document, public_key=key)


def test_one_case_is_run_again_from_the_page_of_its_submission(as_olga, cast):
    done = factories.submission(phase=cast.phase, team=cast.team, status="done", finished_at=factories.NOW)
    run = Run.objects.create(
        submission=done, number=1, status="done", created_at=factories.NOW, finished_at=factories.NOW
    )
    for position, case in enumerate(done.testset.cases.all()):
        CaseRun.objects.create(run=run, case=case, position=position, status="done", verdict="ok")
    url = reverse("organizers:submission", args=[cast.challenge.slug, done.pk])
    assert "<option>a</option>" in markup(as_olga.get(url))
    page = markup(as_olga.post(url, {"action": "rerun", "case": "a"}, follow=True))
    assert "Case a runs again" in page
    assert "being run already" in markup(as_olga.post(url, {"action": "rerun", "case": "a"}, follow=True))
    assert list(CaseRun.objects.filter(run__number=2).values_list("case__case_id", "status")) == [
        ("a", "queued"),
        ("b", "done"),
    ]


def test_only_organizers_may_rejudge(client, cast):
    client.force_login(cast.pia)
    url = reverse("organizers:rejudge", args=[cast.challenge.slug, cast.phase.slug])
    assert (client.get(url).status_code, client.post(url, {"action": "start"}).status_code) == (403, 403)


def test_a_row_copied_from_a_published_table_has_its_pages(client, cast):
    entry = factories.entry(phase=cast.phase, rank=1, statistics={})
    Submission.objects.filter(pk=entry.submission_id).update(
        imported_from="https://example.org/table",
        image=None,
        reason="published_table",
    )
    cast.phase.published_at = factories.NOW
    cast.phase.save()
    client.force_login(cast.olga)
    page = markup(client.get(reverse("organizers:submission", args=[cast.challenge.slug, entry.submission_id])))
    assert "nothing ran here" in page
    board = markup(client.get(reverse("portal:leaderboard", args=[cast.challenge.slug, cast.phase.slug])))
    assert 'href="https://example.org/table"' in board
    assert "it wins no prize" in board
    listed = client.get(reverse("organizers:submissions", args=[cast.challenge.slug]))
    assert listed.status_code == 200


def test_the_metrics_page_lists_images_and_says_which_is_missing(as_olga, cast):
    url = reverse("organizers:metric-images", args=[cast.challenge.slug])
    assert "No metric image" in markup(as_olga.get(url))
    protocol = cast.phase.protocol
    wanted, other = (f"sha256:{factories.digest(name)}" for name in ("rings", "arches"))
    document = protocol.document | {
        "metrics": [*protocol.document["metrics"], {"name": "external_score", "id": "agreement"}],
        "conventions": {"failed": {"agreement": 0}},
        "evaluation": {"image": wanted},
    }
    factories.rewrite_protocol(protocol, document)
    MetricImage.objects.create(
        challenge=cast.challenge, image_id=other, archive_sha256="0" * 64, rewritten_key="metric-images/1/image.tar",
        rewritten_bytes=7, created_by=cast.olga, created_at=factories.NOW,
    )  # fmt: skip
    text = markup(as_olga.get(url))
    assert wanted in text
    assert "was not pushed" in text
    assert "not in use" in text
    assert "every metric image that a protocol names is here" in markup(
        as_olga.get(reverse("organizers:overview", args=[cast.challenge.slug]))
    )


def test_a_metric_image_without_an_archive_is_refused_on_the_page(as_olga, cast):
    url = reverse("organizers:metric-images", args=[cast.challenge.slug])
    assert "No archive was chosen." in markup(as_olga.post(url))


def test_a_pushed_metric_image_is_listed_with_what_a_protocol_writes(as_olga, cast, tmp_path):
    url = reverse("organizers:metric-images", args=[cast.challenge.slug])
    layer = image_archives.tar_of(image_archives.entry("metrics", b"#!"))
    with image_archives.docker_save(tmp_path / "rings.tar", layer).open("rb") as archive:
        answer = as_olga.post(url, {"archive": archive}, follow=True)
    (image,) = cast.challenge.metric_images.all()
    assert f'evaluation: {{image: "{image.image_id}"}}' in markup(answer)


def test_people_have_pages_and_who_waits_for_an_answer_comes_first(client, cast):
    for number in range(PAGE):
        status = "pending" if number == PAGE - 1 else "accepted"
        factories.membership(challenge=cast.challenge, user=factories.user(username=f"reader{number}"), status=status)
    client.force_login(cast.olga)
    url = reverse("organizers:people", args=[cast.challenge.slug])
    first, second = (markup(client.get(url, {"page": page})) for page in (1, 2))
    assert f"page 1 of 2, {PAGE + 2} people" in first
    assert f"reader{PAGE - 1}@" in first
    assert (first.count("<tr>"), second.count("<tr>")) == (PAGE + 1, 3)


def test_the_challenge_file_tab_checks_its_own_text_and_would_change_nothing(as_olga, cast):
    url = reverse("organizers:document", args=[cast.challenge.slug])
    source = file_of_the_scene(cast)
    as_olga.post(url, {"source": source, "apply": "1"})
    shown = as_olga.get(url).context["source"]
    assert shown == source
    answer = as_olga.post(url, {"source": shown, "dry_run": "1"})
    assert answer.context["plan"] == []
    assert "Nothing would change." in markup(answer)


def file_of_the_scene(cast) -> str:
    """The challenge of the scene as a file with a comment."""
    times = "opens_at: 2026-11-14T12:00:00Z, closes_at: 2026-11-28T12:00:00Z"
    return (
        f"slug: brains  # kept\ntitle: Brains\nprotocol: {factories.PROTOCOL_TEXT}\n"
        f"phases: [{{slug: final, {times}, testset: hidden}}]\n"
    )


def test_what_is_not_ready_is_published_only_by_its_name(as_olga, cast):
    draft = factories.challenge(slug="early", status="draft", organizer=cast.olga)
    factories.phase(challenge=draft)
    overview, url = (reverse(f"organizers:{name}", args=["early"]) for name in ("overview", "publish-challenge"))
    said = markup(as_olga.post(url, follow=True))
    assert "Not published. Not ready: every phase has a test set" in said
    assert "the rules are written" in said
    draft.refresh_from_db()
    assert draft.status == "draft"
    assert "To publish anyway, type early" in markup(as_olga.get(overview))
    as_olga.post(url, {"confirm": "early"})
    draft.refresh_from_db()
    assert draft.status == "published"


def test_a_disqualified_row_stays_below_the_ranking_with_its_reason_and_can_come_back(as_olga, cast):
    entry = factories.entry(phase=cast.phase, team=cast.team, rank=1)
    url = reverse("organizers:submission", args=["brains", entry.submission.pk])
    board = reverse("portal:leaderboard", args=["brains", "final"])
    as_olga.post(url, {"action": "disqualify", "reason": "trained on the test set"})
    said = markup(as_olga.get(board))
    assert "disqualified by the organizers: trained on the test set" in said
    as_olga.post(url, {"action": "reinstate"})
    entry.submission.refresh_from_db()
    assert (entry.submission.is_disqualified, entry.submission.disqualified_reason) == (False, "")
    assert "disqualified by the organizers" not in markup(as_olga.get(board))
    assert AuditEvent.objects.filter(verb="submission.reinstated").count() == 1


def test_a_site_is_approved_by_its_words_and_revoked_on_the_page(as_olga, cast):
    url = reverse("organizers:sites", args=["brains"])
    key = Ed25519PrivateKey.generate()
    site = cast.phase.evaluation_sites.create(
        name="st-mary", title="St Mary", token_hash="x", created_at=factories.NOW, public_key=public_key_text(key)
    )
    page = markup(as_olga.get(url))
    assert "waits for the six words" in page
    assert words_for(site) not in page, "whoever approves has to hear the words"
    asked = {"phase": "final", "name": "st-mary", "action": "approve"}
    assert as_olga.post(url, {**asked, "words": "lusab babad lusab babad lusab babad"}).status_code == 400
    answer = as_olga.post(url, {**asked, "words": words_for(site).upper().replace(" ", "-")})
    assert (answer.status_code, answer["Location"]) == (302, url)
    site.refresh_from_db()
    assert site.approved_at is not None
    as_olga.post(url, {**asked, "action": "revoke", "reason": "contract ended"})
    page = markup(as_olga.get(url))
    assert "revoked" in page
    assert "contract ended" in page


def test_a_challenge_begins_with_the_rules_of_a_published_one(as_olga):
    answers = {"form": "1", "title": "Livers", "slug": "livers", "kind": "container", "days": 30}
    answers |= {"wall_seconds": 60, "memory_mb": 1024}
    assert "Name the labels" in markup(as_olga.post(reverse("organizers:new"), answers))
    source = as_olga.post(reverse("organizers:new"), answers | {"template": "flare22"}).context["source"]
    assert "liver" in {label.name for label in parse_definition(source).phases[0].protocol.labels}


def test_a_refused_part_of_code_is_told_on_its_page(as_olga, cast):
    answer = as_olga.post(reverse("organizers:code-parts", args=[cast.challenge.slug]), {"kind": "wheels"})
    assert "No archive was chosen." in markup(answer)
    forms = answer.content.decode().split("<form")[1:]
    for heading, purpose in (("Push a base image", "image"), ("Push wheels", "wheels")):
        (form,) = (form for form in forms if heading in form)
        assert f'data-purpose="{purpose}"' in form
        assert "csrfmiddlewaretoken" in form
