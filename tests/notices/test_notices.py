"""Notices: who is told what, on the website and by mail, once each, and as they wish."""

import re
import threading

import pytest
from django.core import mail
from django.db import connections, transaction
from django.utils import translation

import factories
from assay.accounts.models import User
from assay.challenges.models import Membership
from assay.challenges.publication import ask_for_publication, decide_publication
from assay.challenges.registration import Application
from assay.challenges.services import decide_membership, join_challenge
from assay.notices.choices import Wish, choose
from assay.notices.delivery import send_mails
from assay.notices.models import ByMail, Kind, Notice, OutgoingMail
from assay.notices.selectors import notices_of, unread_count
from assay.notices.services import News, forget_old, notify, write_digests
from assay.notices.words import SENTENCES, in_words
from assay.submissions.models import Submission
from assay.submissions.reasons import Reason, Told
from assay.submissions.services import Ended, change_status, disqualify_submission
from markup import markup

pytestmark = pytest.mark.django_db
NEWS = News(kind=Kind.DEADLINE, event="accepted", key="once", path="/c/brains/", facts={"challenge": "Brains"})


def end(submission, *, status: str, now, verdict: str = "", fault: str = "") -> None:
    """Let a submission end as a worker would."""
    Submission.objects.filter(pk=submission.pk).update(status=Submission.Status.SCORING)
    told = Told(reason=Reason.PROGRAM_ERROR) if verdict else Told()
    ended = Ended(verdict=verdict, told=told, fault=fault, is_charged=None)
    assert change_status(
        submission_id=submission.pk, to=Submission.Status(status), now=now, actor_label="scorer", ended=ended
    )


def events_of(person: User) -> list[str]:
    return list(Notice.objects.filter(person=person).order_by("pk").values_list("event", flat=True))


@pytest.fixture
def submission(scene):
    other = factories.user(username="quin")
    scene.team.memberships.create(user=other, joined_at=factories.NOW)
    return factories.submission(phase=scene.phase, team=scene.team, user=scene.pia, status="scoring")


@pytest.mark.parametrize(
    ("status", "verdict", "fault", "event"),
    [
        ("done", "", "", "submission_done"),
        ("failed", "timeout", "participant", "submission_failed"),
        ("failed", "infrastructure", "platform", "submission_not_theirs"),
        ("cancelled", "cancelled", "", "submission_cancelled"),
    ],
)
def test_every_member_of_the_team_hears_how_a_submission_ended_and_nobody_else(
    status, verdict, fault, event, submission, scene, now
):
    end(submission, status=status, verdict=verdict, fault=fault, now=now)
    assert events_of(scene.pia) == events_of(User.objects.get(username="quin")) == [event]
    assert events_of(scene.otto) == events_of(scene.olga) == []
    assert sorted(OutgoingMail.objects.values_list("address", flat=True)) == ["pia@example.org", "quin@example.org"]


def test_what_is_rolled_back_is_not_told(submission, scene, now):
    with transaction.atomic():
        end(submission, status="done", now=now)
        transaction.set_rollback(True)
    assert (Notice.objects.count(), OutgoingMail.objects.count()) == (0, 0)


def test_a_disqualification_is_told_with_its_reason(submission, scene, now):
    disqualify_submission(submission_id=submission.pk, reason="trained on the test set", user=scene.olga, now=now)
    ((row,), _) = notices_of(scene.pia, length=10)
    assert row.text.endswith("Reason: trained on the test set")


def test_somebody_who_asks_to_take_part_and_the_decision_are_told(scene, now):
    scene.challenge.requires_approval = True
    scene.challenge.save()
    membership = join_challenge(challenge=scene.challenge, user=scene.otto, application=Application(), now=now)
    assert events_of(scene.olga) == ["asked_to_join"]
    for _ in range(2):  # the second organizer's click decides the same
        decide_membership(
            membership=membership, status=Membership.Status.REJECTED, reason="no data plan", user=scene.olga, now=now
        )
    assert events_of(scene.otto) == ["rejected"]
    assert "no data plan" in OutgoingMail.objects.get(person=scene.otto).text


def test_operators_hear_of_a_draft_that_waits_and_organizers_of_the_decision(scene, now):
    draft = factories.challenge(slug="hearts", organizer=scene.olga, status="draft")
    for _ in range(2):
        ask_for_publication(challenge=draft, user=scene.olga, now=now)
    assert events_of(scene.stan) == ["publication_asked"]
    assert OutgoingMail.objects.get(person=scene.stan).text.count("/ops/rights/") == 1
    decide_publication(slug="hearts", approves=False, reason="no licence", by=scene.stan, now=now)
    assert events_of(scene.olga) == ["publication_refused"]


def test_the_same_key_is_told_once(scene, now):
    for _ in range(3):
        notify(people=[scene.pia, scene.otto], news=NEWS, now=now)
    assert (Notice.objects.count(), OutgoingMail.objects.count()) == (2, 2)


@pytest.mark.django_db(transaction=True)
def test_two_who_tell_the_same_at_once_send_one_mail(now):
    person = factories.user()
    together = threading.Barrier(2, timeout=30)

    def tell() -> None:
        with transaction.atomic():
            together.wait()
            notify(people=[person], news=NEWS, now=now)
        connections.close_all()

    threads = [threading.Thread(target=tell) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (Notice.objects.count(), OutgoingMail.objects.count()) == (1, 1)


def test_telling_many_takes_as_many_queries_as_telling_one(now, django_assert_num_queries):
    counts = []
    for number in (1, 30):
        people = [factories.user() for _ in range(number)]
        with django_assert_num_queries(7):
            notify(people=people, news=NEWS, now=now)
        counts.append(number)
    assert Notice.objects.count() == sum(counts)


def test_people_choose_what_they_hear_of(scene, now):
    people = {by_mail: factories.user() for by_mail in ByMail.values}
    for by_mail, person in people.items():
        choose(person=person, wishes=[Wish(kind=Kind.DEADLINE, is_shown=by_mail != "never", by_mail=by_mail)])
    notify(people=list(people.values()), news=NEWS, now=now)
    assert [mail.person for mail in OutgoingMail.objects.all()] == [people["now"]]
    assert Notice.objects.get(waits_for_digest=True).person == people["digest"]
    assert events_of(people["never"]) == []


def test_a_digest_has_everything_of_a_day_in_one_mail(scene, now):
    choose(person=scene.pia, wishes=[Wish(kind=Kind.DEADLINE, by_mail=ByMail.DIGEST)])
    for key in ("one", "two"):
        facts = {"challenge": f"Challenge {key}"}
        news = News(kind=Kind.DEADLINE, event="accepted", key=key, path=f"/c/{key}/", facts=facts)
        notify(people=[scene.pia], news=news, now=now)
    later = now + factories.timedelta(days=1)
    assert [write_digests(now=at) for at in (now, later, later)] == [0, 1, 0]
    text = OutgoingMail.objects.get().text
    assert (text.count("/c/one/"), text.count("/c/two/"), text.count("Challenge one")) == (1, 1, 1)


def test_a_mail_is_in_the_language_of_its_reader(scene, now):
    scene.pia.language = "de"
    scene.pia.save()
    with translation.override("en-gb"):
        notify(people=[scene.pia, scene.otto], news=NEWS, now=now)
    german, english = (OutgoingMail.objects.get(person=person) for person in (scene.pia, scene.otto))
    assert (english.text.startswith("Hello"), german.text.startswith("Hallo")) == (True, True)


def test_where_addresses_are_verified_no_other_address_gets_a_notice(scene, now, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    notify(people=[scene.pia], news=NEWS, now=now)
    assert (Notice.objects.count(), OutgoingMail.objects.count()) == (1, 0)


def test_one_click_ends_mails_of_a_kind_and_a_visit_only_asks(scene, client, now):
    notify(people=[scene.pia], news=NEWS, now=now)
    send_mails(now=now)
    (message,) = mail.outbox
    link = re.fullmatch(r"<http://[^/]+(/\S+)>", message.extra_headers["List-Unsubscribe"])[1]
    assert message.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "End these mails" in markup(client.get(link))
    assert not scene.pia.notice_choices.exists(), "mail scanners follow links"
    client.handler.enforce_csrf_checks = True
    assert client.post(link, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert scene.pia.notice_choices.get().by_mail == ByMail.NEVER
    assert client.post(link[:-3] + "x/").status_code == 404


def test_the_page_of_notices_shows_ones_own_and_counts_what_is_unread(scene, client, now):
    notify(people=[scene.pia], news=NEWS, now=now)
    client.force_login(scene.pia)
    page = markup(client.get("/notices/"))
    assert "you take part" in page
    assert '<span class="count">1' in page
    notice = Notice.objects.get()
    assert client.get(f"/notices/{notice.pk}/")["Location"] == "/c/brains/"
    assert unread_count(scene.pia) == 0
    client.force_login(scene.otto)
    assert client.get(f"/notices/{notice.pk}/").status_code == 404
    client.logout()
    assert client.get("/notices/").status_code in (302, 401)


def test_the_matrix_keeps_what_is_chosen(scene, client):
    client.force_login(scene.pia)
    page = markup(client.get("/notices/choices/"))
    assert "verdict-mail" in page
    assert "publication-mail" not in page, "she organizes nothing"
    client.post("/notices/choices/", {"verdict-mail": "digest", "failure-shown": "on", "failure-mail": "nonsense"})
    assert [(row.kind, row.is_shown, row.by_mail) for row in scene.pia.notice_choices.all()] == [
        ("verdict", False, "digest")
    ]


def test_every_sentence_can_be_said():
    facts = dict.fromkeys(
        ("challenge", "phase", "team", "name", "person", "reason", "title", "text", "closes", "left", "other", "data"),
        "x",
    ) | {"number": 3, "verdict": "timeout"}
    for event in SENTENCES:
        told = in_words(event, facts)
        assert told.subject
        assert "%" not in told.subject + told.text


def test_what_is_old_is_forgotten(scene, now):
    notify(people=[scene.pia], news=NEWS, now=now)
    forget_old(now=now + factories.timedelta(days=89))
    assert Notice.objects.count() == 1
    forget_old(now=now + factories.timedelta(days=91))
    assert (Notice.objects.count(), OutgoingMail.objects.count()) == (0, 0)
