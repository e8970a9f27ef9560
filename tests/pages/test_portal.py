"""The participants' pages: who sees what, in which words, and at a constant number of queries."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

import factories
import people
from assay.accounts.models import ApiToken
from assay.challenges.models import Challenge
from assay.challenges.texts import render_markdown
from assay.leaderboards.models import Leaderboard
from assay.leaderboards.standing import note_standing
from assay.pages.tables import PAGE
from assay.runs.models import CaseRun, Run
from assay.submissions.models import Submission
from evaluator.protocol import load_named_protocol
from markup import markup

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast():
    return people.scene()


@pytest.fixture
def as_pia(client, cast):
    client.force_login(cast.pia)
    return client


def phase_url(name, cast):
    return reverse(f"portal:{name}", args=[cast.challenge.slug, cast.phase.slug])


def test_everybody_sees_published_challenges_and_nobody_else_sees_drafts(client, cast):
    factories.challenge(slug="secret-draft", status="draft", organizer=cast.olga)
    page = markup(client.get("/"))
    assert "Brains" in page
    assert "Secret-Draft" not in page
    client.force_login(cast.olga)
    assert "Secret-Draft" in markup(client.get("/"))


def test_many_challenges_are_shown_by_pages_soonest_deadline_first(client, cast, django_assert_max_num_queries):
    """The thousandth challenge costs what the hundredth does: what is on another page is not read."""
    for number in range(60):
        closes_at = factories.NOW + timedelta(days=100 + number)
        factories.phase(
            challenge=factories.challenge(slug=f"later-{number:02}", organizer=cast.olga), closes_at=closes_at
        )
    with django_assert_max_num_queries(8):
        page = client.get("/").content.decode()
    assert page.count('class="card"') == 48
    assert page.index("Brains") < page.index("Later-00") < page.index("Later-46")
    assert "Later-47" not in page
    assert "page 1 of 2, 61 challenges" in page
    last = client.get("/?page=2").content.decode()
    assert last.count('class="card"') == 13
    assert client.get("/?page=99").content.decode().count('class="card"') == 13
    filtered = client.get("/?status=open&q=later&page=2").content.decode()
    assert filtered.count('class="card"') == 12
    assert "status=open&amp;q=later&amp;page=1" in filtered, "the other pages keep the filter"
    assert client.get("/?status=closed").content.decode().count('class="card"') == 0


def test_a_draft_and_a_slug_nobody_used_answer_the_same(client, cast):
    factories.challenge(slug="secret-draft", status="draft", organizer=cast.olga)
    hidden = client.get(reverse("portal:challenge", args=["secret-draft"]))
    missing = client.get(reverse("portal:challenge", args=["never-was"]))
    assert (hidden.status_code, missing.status_code) == (404, 404)
    words = [re.sub(r'value="\w{64}"', "", markup(page)) for page in (hidden, missing)]
    assert words[0].replace("secret-draft", "") == words[1].replace("never-was", "")


@pytest.mark.parametrize("name", ["challenge", "rules"])
def test_the_challenge_pages_open_for_strangers(client, cast, name):
    assert client.get(reverse(f"portal:{name}", args=[cast.challenge.slug])).status_code == 200


def test_the_rules_state_what_the_protocol_says(client, cast):
    page = markup(client.get(reverse("portal:rules", args=[cast.challenge.slug])))
    assert "core" in page
    assert "30 s" in page
    assert "512 MB" in page
    assert "Structure present, nothing predicted" in page


@pytest.mark.parametrize("name", ["challenge", "rules", "phase", "leaderboard"])
def test_the_pages_warn_of_defects_in_force_and_of_unconfirmed_rules(client, cast, name):
    document = load_named_protocol("flare21@published").document
    cast.phase.protocol = factories.protocol(challenge=cast.challenge, document=document)
    cast.phase.save()
    slugs = [cast.challenge.slug] + ([cast.phase.slug] if name in ("phase", "leaderboard") else [])
    page = markup(client.get(reverse(f"portal:{name}", args=slugs)))
    assert "as the organizers&#x27; published code does" in page or "as the organizers' published code does" in page
    assert "dice 0.5 → 1, a gain" in page
    assert "dice 0.5 corrected, 1 published (+0.5)" in page
    assert "which value stands for which organ" in page


@pytest.mark.parametrize("name", ["challenge", "rules"])
def test_the_pages_do_not_warn_of_defects_that_are_not_in_force(client, cast, name):
    document = load_named_protocol("flare22").document
    cast.phase.protocol = factories.protocol(challenge=cast.challenge, document=document)
    cast.phase.save()
    page = markup(client.get(reverse(f"portal:{name}", args=[cast.challenge.slug])))
    assert "published code" not in page
    assert "not confirmed" not in page


def test_the_phase_page_says_whether_pia_may_submit(as_pia, cast, monkeypatch):
    page = markup(as_pia.get(phase_url("phase", cast)))
    assert "you compete as Pia and friends" in page


def test_otto_is_offered_to_join_and_then_competes_alone(client, cast):
    client.force_login(cast.otto)
    assert "Join this challenge" in markup(client.get(reverse("portal:challenge", args=[cast.challenge.slug])))
    client.post(reverse("portal:join", args=[cast.challenge.slug]))
    assert "You compete as" in markup(client.get(reverse("portal:challenge", args=[cast.challenge.slug])))


def test_a_stranger_who_wants_to_submit_is_asked_to_sign_in_first(client, cast):
    answer = client.get(phase_url("submit", cast))
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("portal:sign-in"))


def test_sign_up_signs_in_and_refuses_a_weak_password_in_words(client, db):
    entry = {"username": "nina", "display_name": "Nina", "email": "nina@example.org", "password": "short"}
    refused = client.post(reverse("portal:sign-up"), entry)
    assert refused.status_code == 400
    assert "too short" in markup(refused)
    assert client.post(reverse("portal:sign-up"), entry | {"password": "a long enough secret"}).status_code == 302
    assert "Nina" in markup(client.get("/"))


def test_the_submission_page_is_open_to_its_team_and_hidden_from_otto(as_pia, cast, client):
    submission = factories.submission(phase=cast.phase, team=cast.team)
    url = reverse("portal:submission", args=[submission.pk])
    assert "Algorithm of Pia and friends" in markup(as_pia.get(url))
    client.force_login(cast.otto)
    assert client.get(url).status_code == 404


def test_an_unchanged_live_fragment_answers_204_and_a_changed_one_comes_back(as_pia, cast):
    submission = factories.submission(phase=cast.phase, team=cast.team)
    url = reverse("portal:submission-live", args=[submission.pk])
    first = as_pia.get(url)
    version = first.context["view"].version
    assert as_pia.get(f"{url}?v={version}").status_code == 204
    Submission.objects.filter(pk=submission.pk).update(status=Submission.Status.CHECKING)
    assert as_pia.get(f"{url}?v={version}").status_code == 200


def test_a_finished_submission_is_no_longer_polled(as_pia, cast):
    submission = factories.submission(
        phase=cast.phase, team=cast.team, status="failed", earlier_text="time limit of 5 s reached"
    )
    page = markup(as_pia.get(reverse("portal:submission", args=[submission.pk])))
    assert "time limit of 5 s reached" in page
    assert "hx-get" not in page


def test_what_the_letters_of_cases_mean_is_said_in_words(as_pia, cast):
    row = factories.submission(phase=cast.phase, team=cast.team, status="failed", verdict="timeout")
    run = Run.objects.create(submission=row, number=1, status="failed", pool="default", created_at=factories.NOW)
    for position, (case, verdict) in enumerate(zip(row.testset.cases.all(), ("ok", "timeout"), strict=True)):
        status = "done" if verdict == "ok" else "failed"
        CaseRun.objects.create(run=run, case=case, position=position, status=status, verdict=verdict)
    page = markup(as_pia.get(reverse("portal:submission", args=[row.pk])))
    assert '<span aria-hidden="true">✓</span> OK: 1' in page
    assert '<span aria-hidden="true">✗</span> Time limit: 1' in page


def test_the_token_is_shown_once_and_stored_hashed(as_pia, cast):
    answer = as_pia.post(reverse("portal:account"), {"name": "laptop", "days": 7})
    assert answer.status_code == 302  # a reload of the page that shows it issues no second one
    shown = markup(as_pia.get(answer.url))
    assert ("assay_" in shown, "If it is lost, revoke it and make a new one." in shown) == (True, True)
    again = markup(as_pia.get(answer.url))  # a reload
    assert ("assay_" in again, "If it is lost" in again, "laptop" in again) == (False, False, True)
    assert ApiToken.objects.count() == 1


def test_colours_are_kept_in_a_cookie_and_never_redirect_elsewhere(client, db):
    answer = client.post(reverse("portal:theme"), {"theme": "dark", "next": "https://evil.example/"})
    assert answer["Location"] == "/"
    assert 'data-theme="dark"' in markup(client.get("/"))


def test_every_page_forbids_foreign_scripts(client, db):
    assert "default-src 'self'" in client.get("/")["Content-Security-Policy"]


@pytest.mark.parametrize("count", [1, 6])
def test_the_submission_list_asks_a_constant_number_of_questions(as_pia, cast, count, django_assert_max_num_queries):
    for _ in range(count):
        factories.submission(phase=cast.phase, team=cast.team)
    with django_assert_max_num_queries(11):  # two of them open and end the transaction
        as_pia.get(reverse("portal:my-submissions"))


def test_older_submissions_are_a_page_away(as_pia, cast):
    for number in range(1, PAGE + 3):
        factories.submission(phase=cast.phase, team=cast.team, number=number, name=f"Try {number:03}")
    mine = reverse("portal:my-submissions")
    newest = markup(as_pia.get(mine))
    older = re.search(r'rel="next" href="([^"]+)"', newest)[1]
    assert ("Try 052" in newest, "Try 003" in newest, "Try 002" in newest) == (True, True, False)
    oldest = markup(as_pia.get(mine + older))
    assert ("Try 003" in oldest, "Try 002" in oldest, "Try 001" in oldest) == (False, True, True)
    assert 'rel="next"' not in oldest
    assert "Newest" in oldest
    assert "Try 052" in markup(as_pia.get(f"{mine}?before=nonsense"))


def test_a_leaderboard_is_paged_and_a_page_that_is_not_there_leads_to_the_last(client, cast):
    for rank in range(1, PAGE + 2):
        factories.entry(phase=cast.phase, rank=rank)
    url = phase_url("leaderboard", cast)
    first, second = (markup(client.get(url, {"page": page})) for page in (1, 2))
    assert f"page 1 of 2, {PAGE + 1} rows" in first
    assert (first.count('name="s"'), second.count('name="s"')) == (PAGE, 1)
    answer = client.get(url, {"page": 9, "sort": "-dice"})
    assert (answer.status_code, answer["Location"]) == (302, "?page=2&sort=-dice")
    assert client.get(url, {"format": "csv"}).content.decode().count("\n") == PAGE + 2


def test_markdown_of_organizers_is_sanitised(client, cast):
    written = "**bold** <script>alert(1)</script> [x](javascript:alert(1))"
    Challenge.objects.filter(pk=cast.challenge.pk).update(description_html=render_markdown(written))
    page = markup(client.get(reverse("portal:challenge", args=[cast.challenge.slug])))
    assert "<strong>bold</strong>" in page
    assert "alert(1)</script>" not in page
    assert 'href="javascript:' not in page


def test_the_report_of_an_empty_board_leads_back_to_the_board(client, cast):
    cast.phase.published_at = factories.NOW
    cast.phase.save()
    assert client.get(phase_url("report", cast))["Location"] == phase_url("leaderboard", cast)


def test_the_report_of_closed_cases_is_the_organizers(client, cast):
    cast.phase.protocol = factories.protocol(
        challenge=cast.challenge, document={**factories.PROTOCOL, "release": "aggregate"}
    )
    cast.phase.published_at = factories.NOW
    cast.phase.save()
    factories.entry(phase=cast.phase, rank=1)
    answers = {}
    for person in ("pia", "olga"):
        client.force_login(getattr(cast, person))
        shown = "Statistics report" in markup(client.get(phase_url("leaderboard", cast)))
        answers[person] = (client.get(phase_url("report", cast)).status_code, shown)
    assert answers == {"pia": (302, False), "olga": (202, True)}


@pytest.mark.parametrize(("profile", "is_warned"), [("default", True), ("legacy", False), ("image-user", False)])
def test_files_that_only_root_reads_are_warned_about_where_containers_are_not_root(client, profile, is_warned):
    cast = people.scene(slug="warned")
    protocol = cast.phase.protocol
    protocol.document = {**protocol.document, "resources": {**protocol.document["resources"], "profile": profile}}
    protocol.sha256 = f"{profile:0>64}"
    protocol.save()
    report = {"architecture": "amd64", "warnings": ["3 device files"], "warnings_as_user": ["2 files for root only"]}
    image = factories.image(team=cast.team, report=report)
    submission = factories.submission(phase=cast.phase, team=cast.team, image=image, status="queued")
    client.force_login(cast.pia)
    page = markup(client.get(reverse("portal:submission", args=[submission.pk])))
    assert "3 device files" in page
    assert ("2 files for root only" in page) == is_warned


def test_the_submit_page_shows_the_exact_names_a_zip_holds(as_pia, cast):
    document = {**factories.PROTOCOL, "outputs": [{"name": "s", "kind": "label_map", "file": "images/s.mha"}]}
    cast.phase.protocol = factories.protocol(challenge=cast.challenge, document=document)
    cast.phase.kind, cast.phase.closes_at = "predictions", timezone.now() + timedelta(days=1)
    cast.phase.save()
    assert "<pre>a/images/s.mha b/images/s.mha</pre>" in markup(as_pia.get(phase_url("submit", cast)))
    rules = markup(as_pia.get(reverse("portal:rules", args=[cast.challenge.slug])))
    assert "<pre>CASE/images/s.mha</pre>" in rules


def test_a_refused_submission_keeps_the_archive_that_was_sent(as_pia, cast):
    page = reverse("portal:submit", args=["brains", "final"])
    sent = factories.complete_upload(user=cast.pia, purpose="model")  # no image: refused
    typed = {"name": "Nets", "upload_id": str(sent.pk)}
    answer = as_pia.post(page, typed, headers={"Referer": f"http://testserver{page}"})
    assert (answer.status_code, answer["Location"]) == (302, page)
    for _visit in range(2):
        shown = markup(as_pia.get(page))
        assert f'name="upload_id" value="{sent.pk}"' in shown
        assert ('value="Nets"' in shown, 'role="alert"' in shown) == (True, True)
    as_pia.get("/help/")
    assert str(sent.pk) not in markup(as_pia.get(page))


def test_who_may_not_submit_does_not_learn_the_names_of_hidden_cases(client, cast):
    cast.phase.kind, cast.phase.closes_at = "predictions", timezone.now() + timedelta(days=1)
    cast.phase.save()
    client.force_login(cast.otto)
    assert "a.nii.gz" not in markup(client.get(phase_url("submit", cast)))


def test_joining_asks_for_the_team_and_it_changes_until_the_first_submission(client, cast):
    team = factories.team(name="Otto and co", members=[cast.otto])
    client.force_login(cast.otto)
    overview, join = (reverse(f"portal:{name}", args=[cast.challenge.slug]) for name in ("challenge", "join"))
    page = markup(client.get(overview))
    assert '<option value="otto-and-co">Otto and co</option>' in page
    client.post(join, {"team": team.slug})
    membership = cast.challenge.memberships.get(user=cast.otto)
    assert membership.team == team
    assert "Change the team" in markup(client.get(overview))
    client.post(join, {"team": ""})
    membership.refresh_from_db()
    assert membership.team.name == "Otto"
    client.post(join, {"team": team.slug})
    factories.submission(phase=cast.phase, team=team, submitted_by=cast.otto)
    assert "Change the team" not in markup(client.get(overview))
    assert client.post(join, {"team": ""}).status_code == 409


def test_nobody_joins_in_a_team_of_others(client, cast):
    client.force_login(cast.otto)
    assert client.post(reverse("portal:join", args=["brains"]), {"team": cast.team.slug}).status_code == 404


def test_the_overview_numbers_rows_by_their_rank(client, cast):
    for rank in (1, 1, 3):
        factories.entry(phase=cast.phase, rank=rank)
    page = markup(client.get(reverse("portal:challenge", args=["brains"])))
    assert re.findall(r'<span class="rank">(\d+)</span>', page) == ["1", "1", "3"]


@pytest.mark.parametrize(("count", "shown"), [(4, "withheld"), (5, "0.900")])
def test_a_view_shows_how_many_cases_and_withholds_means_of_few(client, cast, count, shown):
    metrics = {"dice": {"mean": 0.5, "sd": 0.1, "n": 9, "per_site": {"A": {"mean": 0.9, "sd": 0.0, "n": count}}}}
    for rank in (1, 2):
        factories.entry(
            phase=cast.phase, rank=rank, metrics=metrics, statistics={"rank_interval": [1, 2]}, failed_cases=7
        )
    note_standing_of(cast.phase)
    board = phase_url("leaderboard", cast)
    page = markup(client.get(board, {"view": "site:A", "sort": "-dice"}))
    assert shown in page
    assert ('<span class="quiet">n 5</span>' in page) == (count == 5)
    assert "Rank over all cases" in page
    assert "7 of" not in page
    assert "1–2" not in page
    client.force_login(cast.olga)
    assert "0.900" in markup(client.get(board, {"view": "site:A"}))


def test_the_board_says_by_what_it_ranks(client, cast):
    factories.entry(phase=cast.phase, rank=1)
    assert "Ranked by:" in markup(client.get(phase_url("leaderboard", cast)))


def test_failed_cases_of_closed_cases_are_withheld_and_never_0(client, cast):
    document = {**factories.PROTOCOL, "release": "aggregate"}
    cast.phase.protocol = factories.protocol(challenge=cast.challenge, document=document)
    cast.phase.save()
    factories.entry(phase=cast.phase, rank=1, failed_cases=5, case_count=6)
    assert '<td class="number"> <span class="quiet">withheld</span> </td>' in markup(
        client.get(phase_url("leaderboard", cast))
    )


def note_standing_of(phase) -> None:
    """What a rebuild notes of the entries, and the board that offers their views."""
    entries = list(phase.entries.all())
    best = note_standing(entries, phase=phase)
    for entry in entries:
        entry.save()
    Leaderboard.objects.update_or_create(phase=phase, defaults={"best": best, "asked_at": factories.NOW})
