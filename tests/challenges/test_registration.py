"""Joining a challenge: who may, what is asked and accepted, invitations, private challenges, agreements."""

import csv
import hashlib
import io
import re

import pytest
from allauth.account.models import EmailAddress

import factories
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError
from assay.accounts.models import AuditEvent
from assay.challenges.models import InvitedPerson, Membership, RulesAcceptance, RulesText
from assay.challenges.registration import Application, make_invite, matches, open_invite
from assay.challenges.services import decide_memberships, join_challenge, push_challenge
from assay.challenges.writing import current_file
from assay.notices.models import Notice, OutgoingMail
from assay.notices.words import in_words
from assay.testsets.models import Download, Signature, TestSet
from markup import markup

pytestmark = pytest.mark.django_db
DOWNLOADS = "/c/brains/manage/people/downloads/"
FILE = """slug: brains
title: Brains
# who may take part
is_private: true
questions: [What will you use?, Who pays you?]
allow: [example.org]
deny: [spam@example.org]
auto_accept: [ada@example.org]
requires_approval: true
rules: No external data.
rules_version: 2
agreements: {training: I publish nothing of it.}
protocol: %s
phases:
  - {slug: final, title: Final, opens_at: 2026-01-01, closes_at: 2100-01-01}
"""


def join(scene, person, now, **application):
    return join_challenge(challenge=scene.challenge, user=person, application=Application(**application), now=now)


def ask(scene, **values):
    """Change what the challenge asks of those who join."""
    for name, value in values.items():
        setattr(scene.challenge, name, value)
    scene.challenge.save()


@pytest.mark.parametrize(
    ("address", "entry", "is_named"),
    [
        ("Ada@Example.ORG", "ada@example.org", True),
        ("ada@example.org", "example.org", True),
        ("ada@cs.example.org", "@example.org", True),
        ("ada@badexample.org", "example.org", False),
        ("ada@example.org.evil.net", "example.org", False),
        ("example.org@evil.net", "example.org", False),
        ("ada@example.org", "bob@example.org", False),
    ],
)
def test_an_entry_with_an_at_is_an_address_and_one_without_is_a_domain(address, entry, is_named):
    assert matches(address, [entry]) is is_named


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, "accepted"),
        ({"requires_approval": True}, "pending"),
        ({"requires_approval": True, "auto_accept": ["example.org"]}, "accepted"),
        ({"requires_approval": True, "allow": ["example.org"]}, "pending"),
        ({"allow": ["otto@example.org"]}, "accepted"),
        ({"allow": ["elsewhere.org"]}, None),
        ({"deny": ["example.org"], "auto_accept": ["otto@example.org"]}, None),
    ],
)
def test_lists_of_addresses_decide_who_joins_and_who_waits(asked, status, scene, now):
    ask(scene, **asked)
    if status is None:
        with pytest.raises(NotAllowedError):
            join(scene, scene.otto, now)
    else:
        assert join(scene, scene.otto, now).status == status


def test_an_address_that_nobody_verified_opens_no_door(scene, now, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    ask(scene, requires_approval=True, auto_accept=["example.org"])
    assert join(scene, scene.otto, now).status == "pending"
    other = factories.user(username="nina")
    EmailAddress.objects.create(user=other, email=other.email, verified=True, primary=True)
    assert join(scene, other, now).status == "accepted"


def test_every_question_needs_an_answer_and_organizers_read_it(scene, now, client):
    ask(scene, questions=["Why?", "How?"])
    for answers in ([], ["because"], ["because", " "], ["a", "b", "c"]):
        with pytest.raises(InvalidError):
            join(scene, scene.otto, now, answers=answers)
    join(scene, scene.otto, now, answers=["because", "=1+1"])
    client.force_login(scene.olga)
    assert "because" in markup(client.get("/c/brains/manage/people/"))
    rows = list(csv.DictReader(io.StringIO(client.get("/c/brains/manage/people/?format=csv").content.decode())))
    (otto,) = [row for row in rows if row["user"] == "otto"]
    assert (otto["Why?"], otto["How?"]) == ("because", "'=1+1"), "a spreadsheet must not calculate it"


def test_rules_with_a_version_are_accepted_and_again_when_the_number_rises(scene, now, client):
    ask(scene, rules="No external data.", rules_version=1)
    with pytest.raises(ConflictError):
        join(scene, scene.otto, now)
    join(scene, scene.otto, now, rules_version=1)
    assert RulesAcceptance.objects.get().rules.version == 1
    client.force_login(scene.otto)
    assert "Submit to" in markup(client.get("/c/brains/"))
    ask(scene, rules="No external data. No ensembles.", rules_version=2)
    page = markup(client.get("/c/brains/"))
    assert ("The rules have changed" in page, "Submit to" in page) == (True, False)
    assert "not accepted version 2" in markup(client.get("/c/brains/p/final/"))
    assert "No ensembles." in markup(client.get("/c/brains/rules/"))
    assert client.post("/c/brains/rules/accept/", {"rules_version": "1"}).status_code == 409
    client.post("/c/brains/rules/accept/", {"rules_version": "2"})
    assert "Submit to" in markup(client.get("/c/brains/"))
    assert list(RulesText.objects.values_list("version", flat=True)) == [1, 2]
    assert AuditEvent.objects.filter(verb="rules.accepted", actor=scene.otto).count() == 2


def test_who_joined_before_there_was_a_version_is_asked_once(scene, client):
    ask(scene, rules_version=1)
    client.force_login(scene.pia)
    assert "not accepted version 1" in markup(client.get("/c/brains/p/final/"))


def test_a_private_challenge_does_not_exist_for_strangers(scene, now, client):
    ask(scene, is_private=True)
    pages = ("/c/brains/", "/c/brains/p/final/leaderboard/", "/c/brains/news.atom", "/api/v1/challenges/brains")
    assert [client.get(page).status_code for page in pages] == [404] * 4
    client.force_login(scene.otto)
    assert [client.get(page).status_code for page in pages] == [404] * 4
    assert "Brains" not in markup(client.get("/"))
    assert client.post("/c/brains/join/").status_code == 404
    client.force_login(scene.pia)
    assert [client.get(page).status_code for page in pages] == [200, 200, 404, 200]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"addresses": "m\u00fcller"}, "'m\u00fcller'"),
        ({"uses": "-7", "days": "30"}, "Found: -7"),
        ({"uses": "999999", "days": "30"}, "999999"),
    ],
)
def test_an_invitation_is_refused_with_what_was_typed_as_it_was_typed(scene, client, typed, said):
    client.force_login(scene.olga)
    answer = client.post("/c/brains/manage/people/invites/", typed)
    assert (answer.status_code, said in markup(answer).replace("&#x27;", "'")) == (400, True)
    assert not scene.challenge.invites.exists()


def test_of_several_addresses_all_are_invited_or_none_and_what_was_typed_stays(scene, client):
    client.force_login(scene.olga)
    at = "/c/brains/manage/people/invites/"
    answer = client.post(at, {"addresses": "ada@example.org, bob@example"})
    assert (answer.status_code, "ada@example.org, bob@example</textarea>" in markup(answer)) == (400, True)
    assert (scene.challenge.invites.count(), OutgoingMail.objects.count()) == (0, 0)
    assert 'value="2000"' in markup(client.post(at, {"uses": "2000", "days": "7"}))
    assert client.post(at, {"addresses": "ada@example.org, bob@example.org"}).status_code == 302
    assert (scene.challenge.invites.count(), OutgoingMail.objects.count()) == (2, 2)


def test_an_invitation_by_mail_lets_one_person_in(scene, now, client):
    ask(scene, is_private=True, requires_approval=True, deny=["example.org"])
    client.force_login(scene.olga)
    client.post("/c/brains/manage/people/invites/", {"addresses": "otto@example.org, nina@example.org"})
    text = OutgoingMail.objects.get(address="otto@example.org").text
    path = re.search(r"/join/\S+", text)[0]
    client.force_login(scene.otto)
    assert client.get(path).status_code == 200
    assert not InvitedPerson.objects.exists(), "mail scanners follow links"
    assert client.post(path)["Location"] == "/c/brains/"
    assert "no organizer has to agree" in markup(client.get("/c/brains/"))
    client.post("/c/brains/join/")
    assert scene.challenge.memberships.get(user=scene.otto).status == "accepted"
    client.force_login(factories.user(username="mallory"))
    assert client.post(path).status_code == 409, "it works once"
    assert client.get("/c/brains/").status_code == 404


def test_a_link_lets_as_many_in_as_it_says_until_it_is_ended(scene, now, client):
    ask(scene, is_private=True)
    _, secret = make_invite(challenge=scene.challenge, uses=2, by=scene.olga, now=now)
    people = [factories.user() for _ in range(3)]
    for person in (*people[:2], people[0]):  # who opens it again uses nothing up
        open_invite(secret=secret, user=person, now=now)
    with pytest.raises(ConflictError):
        open_invite(secret=secret, user=people[2], now=now)
    _, secret = make_invite(challenge=scene.challenge, uses=5, by=scene.olga, now=now)
    client.force_login(scene.olga)
    client.post("/c/brains/manage/people/invites/", {"end": scene.challenge.invites.latest("pk").pk})
    with pytest.raises(ConflictError):
        open_invite(secret=secret, user=people[2], now=now)


def test_who_was_excluded_sees_a_private_challenge_no_more(scene, now, client):
    ask(scene, is_private=True)
    _, secret = make_invite(challenge=scene.challenge, uses=1, by=scene.olga, now=now)
    open_invite(secret=secret, user=scene.otto, now=now)
    membership = join(scene, scene.otto, now)
    decide_memberships(
        memberships=[membership], status=Membership.Status.BANNED, reason="twice", user=scene.olga, now=now
    )
    client.force_login(scene.otto)
    assert client.get("/c/brains/").status_code == 404


def test_organizers_decide_about_many_at_once_with_one_reason(scene, client, now):
    ask(scene, requires_approval=True)
    people = [factories.user() for _ in range(3)]
    ids = [join(scene, person, now).pk for person in people]
    client.force_login(scene.olga)
    client.post("/c/brains/manage/people/", {"membership": ids, "status": "rejected"})
    assert scene.challenge.memberships.filter(status="pending").count() == 3, "a refusal needs a reason"
    client.post("/c/brains/manage/people/", {"membership": ids, "status": "rejected", "reason": "too late"})
    assert scene.challenge.memberships.filter(status="rejected", reason="too late").count() == 3
    assert Notice.objects.filter(event="rejected").count() == 3
    at = "/c/brains/manage/people/"
    page = markup(
        client.post(
            at, {"status": "rejected", "reason": "x"}, headers={"Referer": f"http://testserver{at}"}, follow=True
        )
    )
    assert "Nobody is ticked. Tick somebody first." in page, "said on the page itself"
    own = scene.challenge.memberships.get(user=scene.olga).pk
    assert client.post("/c/brains/manage/people/", {"membership": own, "status": "banned"}).status_code == 404


def test_data_with_an_agreement_are_downloaded_once_it_is_signed(scene, client):
    ask(scene, agreements={"hidden": "I publish nothing of it."})
    TestSet.objects.update(is_public=True)
    address = "/api/v1/challenges/brains/testsets/hidden/1/archive"
    assert client.get(address).status_code == 401
    client.force_login(scene.pia)
    assert client.get(address).status_code == 403
    page = markup(client.get("/c/brains/rules/"))
    sha256 = re.search(r'name="sha256" value="(\w+)"', page)[1]
    assert client.post("/c/brains/data/hidden/sign/", {"sha256": sha256, "signature": ""}).status_code == 400
    client.post("/c/brains/data/hidden/sign/", {"sha256": sha256, "signature": "Pia P."})
    assert "You signed the agreement" in markup(client.get("/c/brains/rules/"))
    assert client.get(address).status_code == 200
    assert [row.user for row in Download.objects.all()] == [scene.pia]
    ask(scene, agreements={"hidden": "I publish nothing of it, ever."})
    assert client.get(address).status_code == 403, "another text is signed again"
    client.force_login(scene.olga)
    table = client.get("/c/brains/manage/people/downloads/?format=csv").content.decode()
    assert [row["what"] for row in csv.DictReader(io.StringIO(table))] == ["downloaded", "signed"]
    assert "Pia P." in markup(client.get("/c/brains/manage/people/downloads/"))


def signed_by_pia(scene, client):
    """Pia has signed for data that need it. The address of the download, and what a form that signs again holds."""
    ask(scene, agreements={"hidden": "I publish nothing of it."})
    TestSet.objects.update(is_public=True)
    client.force_login(scene.pia)
    form = {"sha256": hashlib.sha256(b"I publish nothing of it.").hexdigest(), "signature": "Pia P."}
    client.post("/c/brains/data/hidden/sign/", form)
    return "/api/v1/challenges/brains/testsets/hidden/1/archive", form


def test_an_agreement_that_is_withdrawn_ends_downloads_at_once_and_may_be_signed_again(scene, client):
    archive, form = signed_by_pia(scene, client)
    running = client.get(archive)
    pieces = iter(running.streaming_content)
    next(pieces)
    assert client.post("/c/brains/data/hidden/withdraw/").status_code == 302
    assert sum(map(len, pieces)) < int(running.headers["Content-Length"]) // 2, "a download that runs is cut"
    assert client.get(archive).status_code == 403
    assert "Sign the agreement" in markup(client.get("/c/brains/rules/"))
    assert "withdrew the agreement for the data hidden" in in_words(**told(scene.olga)).text
    assert client.post("/c/brains/data/hidden/withdraw/").status_code == 404, "there is nothing to withdraw any more"
    client.post("/c/brains/data/hidden/sign/", form)
    assert client.get(archive).status_code == 200
    client.force_login(scene.olga)
    assert what_the_log_says(client) == ["downloaded", "signed", "withdrawn", "downloaded", "signed"]


def test_an_agreement_that_an_organizer_revokes_holds_again_only_when_they_say_so(scene, client):
    archive, form = signed_by_pia(scene, client)
    client.force_login(scene.olga)
    revoked = {"signature": Signature.objects.get().pk, "action": "revoke", "reason": "You published <b>a case</b>."}
    refused = client.post(DOWNLOADS, revoked | {"reason": " "})
    assert (refused.status_code, "revoked with a reason" in markup(refused)) == (400, True)
    assert client.post(DOWNLOADS, revoked).status_code == 302
    assert client.post(DOWNLOADS, revoked).status_code == 404, "a second click finds none that holds"
    client.force_login(scene.pia)
    answer = client.get(archive)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "agreement_revoked")
    page = markup(client.get("/c/brains/rules/"))
    assert "You published &lt;b&gt;a case" in page
    assert "Sign the agreement" not in page
    assert client.post("/c/brains/data/hidden/sign/", form).status_code == 403
    ask(scene, agreements={"hidden": "Another text."})  # nor does another text let them in
    another = {"sha256": hashlib.sha256(b"Another text.").hexdigest(), "signature": "Pia P."}
    assert client.post("/c/brains/data/hidden/sign/", another).status_code == 403
    ask(scene, agreements={"hidden": "I publish nothing of it."})
    assert in_words(**told(scene.pia)).text.endswith("Reason: You published <b>a case</b>.")
    client.force_login(scene.olga)
    assert "You published &lt;b&gt;a case" in markup(client.get(DOWNLOADS))
    assert client.post(DOWNLOADS, revoked | {"action": "give_back"}).status_code == 302
    assert what_the_log_says(client) == ["given_back", "revoked", "signed"]
    client.force_login(scene.pia)
    assert client.get(archive).status_code == 200
    assert "holds again" in in_words(**told(scene.pia)).subject


def test_an_agreement_of_another_challenge_cannot_be_touched(scene, client):
    signed_by_pia(scene, client)
    factories.challenge(slug="lungs", organizer=scene.otto)
    client.force_login(scene.otto)
    form = {"signature": Signature.objects.get().pk, "action": "revoke", "reason": "mine"}
    for number in (form["signature"], "0", "x", "9" * 30, ""):
        at = "/c/lungs/manage/people/downloads/"
        assert client.post(at, form | {"signature": number}).status_code == 404
    assert Signature.objects.get().end == ""


def told(person):
    """The newest notice of somebody, as `in_words` takes it."""
    notice = person.notices.latest("pk")
    return {"event": notice.event, "facts": notice.facts}


def what_the_log_says(client):
    lines = csv.DictReader(io.StringIO(client.get(f"{DOWNLOADS}?format=csv").content.decode()))
    return [line["what"] for line in lines]


def test_the_file_says_all_of_it_and_comes_back_to_the_letter(now):
    olga = factories.user(username="olga")
    source = FILE % factories.PROTOCOL_TEXT
    _, challenge = push_challenge(user=olga, slug="brains", source=source, is_dry_run=False, now=now)
    challenge.refresh_from_db()
    assert (challenge.is_private, challenge.questions) == (True, ["What will you use?", "Who pays you?"])
    assert current_file(challenge) == source
    assert challenge.rules_texts.get().version == 2
    challenge.questions = ["Only this?"]
    challenge.source = ""
    challenge.save()
    written = current_file(challenge)
    changes, _ = push_challenge(user=olga, slug="brains", source=written, is_dry_run=True, now=now)
    assert (changes, "Only this?" in written) == ([], True)


@pytest.mark.parametrize(
    "line", ["questions: [1]", "allow: ada@example.org", "agreements: [x]", "agreements: {A b: x}", "rules_version: -1"]
)
def test_what_cannot_be_read_is_named_with_its_line(line, now):
    olga = factories.user(username="olga")
    source = (
        f"slug: brains\ntitle: Brains\n{line}\nprotocol: {factories.PROTOCOL_TEXT}\n" + FILE[FILE.index("phases") :]
    )
    with pytest.raises(InvalidError) as refused:
        push_challenge(user=olga, slug="brains", source=source, is_dry_run=True, now=now)
    assert refused.value.line == 3
