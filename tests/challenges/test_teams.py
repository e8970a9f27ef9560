"""Teams: leaving, removing, handing over, renaming, size, merging."""

import threading
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.db import connections

import factories
from assay.accounts.errors import ConflictError, NotAllowedError, NotFoundError
from assay.accounts.models import AuditEvent
from assay.challenges.registration import Application
from assay.challenges.services import join_challenge
from assay.challenges.teams import hand_over, leave_team, remove_member, rename_team
from assay.leaderboards.models import Leaderboard
from assay.notices.models import Notice
from assay.notices.webhooks import make_hook
from assay.submissions.models import Submission
from assay.workflow.operations.merging import ask_to_merge, decide_merge
from markup import markup

pytestmark = pytest.mark.django_db


@pytest.fixture
def quin(scene):
    """A second member of Pia's team, in the challenge."""
    person = factories.user(username="quin")
    scene.team.memberships.create(user=person, joined_at=factories.NOW)
    factories.membership(challenge=scene.challenge, user=person, team=scene.team)
    return person


@pytest.fixture
def rivals(scene):
    """Otto's team, in the challenge."""
    team = factories.team(name="Rivals", members=[scene.otto])
    factories.membership(challenge=scene.challenge, user=scene.otto, team=team)
    return team


def part_of(scene, person):
    return scene.challenge.memberships.get(user=person)


def test_who_leaves_competes_for_nobody_until_they_choose_again(scene, quin, now):
    leave_team(team=scene.team, user=quin, now=now)
    assert part_of(scene, quin).team is None
    assert Notice.objects.get(event="left_team").person == scene.pia
    other = factories.team(members=[quin])
    application = Application(team=other)
    assert join_challenge(challenge=scene.challenge, user=quin, application=application, now=now).team == other


def test_who_has_submitted_cannot_leave_for_a_second_set_of_attempts(scene, quin, now):
    factories.submission(phase=scene.phase, team=scene.team, user=quin)
    leave_team(team=scene.team, user=quin, now=now)
    other = factories.team(members=[quin])
    with pytest.raises(ConflictError) as refused:
        join_challenge(challenge=scene.challenge, user=quin, application=Application(team=other), now=now)
    assert refused.value.code == "team_is_fixed"
    join_challenge(challenge=scene.challenge, user=quin, application=Application(), now=now)
    assert part_of(scene, quin).team is None, "nor alone"
    scene.team.memberships.create(user=quin, joined_at=now)
    back = join_challenge(challenge=scene.challenge, user=quin, application=Application(team=scene.team), now=now)
    assert back.team == scene.team


def test_a_captain_hands_over_before_leaving_and_the_last_one_stays(scene, quin, now):
    with pytest.raises(ConflictError):
        leave_team(team=scene.team, user=scene.pia, now=now)
    hand_over(team=scene.team, username="quin", by=scene.pia, now=now)
    leave_team(team=scene.team, user=scene.pia, now=now)
    with pytest.raises(ConflictError):
        leave_team(team=scene.team, user=quin, now=now)
    assert [(m.user, m.is_captain) for m in scene.team.memberships.all()] == [(quin, True)]


def test_only_the_captain_removes_hands_over_and_renames(scene, quin, now):
    for act, words in (
        (remove_member, {"username": "pia"}),
        (hand_over, {"username": "quin"}),
        (rename_team, {"name": "Mine"}),
    ):
        with pytest.raises(NotAllowedError):
            act(team=scene.team, by=quin, now=now, **words)
    remove_member(team=scene.team, username="quin", by=scene.pia, now=now)
    assert [notice.person for notice in Notice.objects.filter(event="removed_from_team")] == [quin]
    with pytest.raises(NotFoundError):
        remove_member(team=scene.team, username="quin", by=scene.pia, now=now)


def test_a_team_is_renamed_to_a_name_that_is_free_and_keeps_its_address(scene, rivals, now):
    with pytest.raises(ConflictError):
        rename_team(team=scene.team, name="RIVALS", by=scene.pia, now=now)
    slug = scene.team.slug
    rename_team(team=scene.team, name="Better", by=scene.pia, now=now)
    scene.team.refresh_from_db()
    assert (scene.team.name, scene.team.slug) == ("Better", slug)
    assert AuditEvent.objects.get(verb="team.renamed").details == {"before": "Pia and friends", "after": "Better"}


def test_a_team_takes_no_more_people_than_the_challenge_says(scene, now):
    scene.challenge.team_size = 1
    scene.challenge.save()
    quin = factories.user(username="quin")
    scene.team.memberships.create(user=quin, joined_at=now)
    with pytest.raises(ConflictError) as refused:
        join_challenge(challenge=scene.challenge, user=quin, application=Application(team=scene.team), now=now)
    assert refused.value.code == "team_is_full"
    assert join_challenge(challenge=scene.challenge, user=quin, application=Application(), now=now).team != scene.team


@pytest.mark.django_db(transaction=True)
def test_two_who_join_at_once_do_not_both_take_the_last_place(scene, now):
    scene.challenge.team_size = 2
    scene.challenge.save()
    people = [factories.user() for _ in range(2)]
    for person in people:
        scene.team.memberships.create(user=person, joined_at=now)
    together, refused = threading.Barrier(2, timeout=60), []

    def join(person) -> None:
        together.wait()
        try:
            join_challenge(challenge=scene.challenge, user=person, application=Application(team=scene.team), now=now)
        except ConflictError as error:
            refused.append(error.code)
        connections.close_all()

    threads = [threading.Thread(target=join, args=[person]) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (refused, scene.challenge.memberships.filter(team=scene.team).count()) == (["team_is_full"], 2)


def merging(scene, now, **values):
    scene.challenge.merge_until = now + timedelta(days=1)
    for name, value in values.items():
        setattr(scene.challenge, name, value)
    scene.challenge.save()


def ask(scene, rivals, now, **words):
    entry = {"team": rivals, "into_slug": scene.team.slug, "by": scene.otto} | words
    return ask_to_merge(challenge=scene.challenge, now=now, **entry)


def test_two_teams_become_one_with_all_their_submissions(scene, rivals, now, client):
    merging(scene, now)
    ended = {"status": "done", "finished_at": now}
    mine = factories.submission(phase=scene.phase, team=scene.team, is_chosen=True, **ended)
    theirs = factories.submission(phase=scene.phase, team=rivals, is_chosen=True, **ended)
    ask(scene, rivals, now)
    client.force_login(scene.pia)
    page = markup(client.get("/teams/"))
    assert "Rivals asks to become part of Pia and friends" in page
    merge_id = scene.challenge.merges.get().pk
    client.post(f"/merges/{merge_id}/", {"answer": "yes"})
    assert set(Submission.objects.values_list("team", flat=True)) == {scene.team.pk}
    assert [row.pk for row in Submission.objects.filter(is_chosen=True)] == [mine.pk]
    assert part_of(scene, scene.otto).team == scene.team
    assert scene.team.memberships.filter(user=scene.otto).exists()
    assert Leaderboard.objects.get(phase=scene.phase).asked_at is not None
    theirs.refresh_from_db()
    assert theirs.team == scene.team
    assert client.post(f"/merges/{merge_id}/", {"answer": "yes"}).status_code == 404


def test_who_may_ask_and_answer(scene, rivals, quin, now):
    merging(scene, now)
    with pytest.raises(NotAllowedError):
        ask(scene, rivals, now, by=scene.pia)
    merge = ask(scene, rivals, now)
    with pytest.raises(ConflictError):
        ask(scene, rivals, now)
    with pytest.raises(NotAllowedError):
        decide_merge(merge_id=merge.pk, accepts=True, by=scene.otto, now=now)  # his own question
    with pytest.raises(NotFoundError):
        decide_merge(merge_id=merge.pk, accepts=True, by=quin, now=now)  # no captain
    decide_merge(merge_id=merge.pk, accepts=False, by=scene.otto, now=now)  # taken back
    assert part_of(scene, scene.otto).team == rivals


def test_a_merge_keeps_the_date_and_the_size(scene, rivals, now):
    with pytest.raises(ConflictError):
        ask(scene, rivals, now)  # no date is set
    merging(scene, now, team_size=1)
    with pytest.raises(ConflictError):
        ask(scene, rivals, now)
    merging(scene, now, team_size=2)
    merge = ask(scene, rivals, now)
    with pytest.raises(ConflictError):
        decide_merge(merge_id=merge.pk, accepts=True, by=scene.pia, now=now + timedelta(days=2))


def test_teams_merge_once_everything_has_ended(scene, rivals, now):
    merging(scene, now)
    merge = ask(scene, rivals, now)
    running = factories.submission(phase=scene.phase, team=rivals, status="running")
    with pytest.raises(ConflictError):
        decide_merge(merge_id=merge.pk, accepts=True, by=scene.pia, now=now)
    Submission.objects.filter(pk=running.pk).update(status="done", finished_at=now)
    decide_merge(merge_id=merge.pk, accepts=True, by=scene.pia, now=now)
    assert part_of(scene, scene.otto).team == scene.team


class Buttons(HTMLParser):
    """The words of a page's buttons, and whether each has to be unfolded first."""

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.is_button = 0, False
        self.folded: dict[str, bool] = {}

    def handle_starttag(self, tag, attrs):
        self.depth += tag == "details"
        self.is_button = tag == "button"

    def handle_endtag(self, tag):
        self.depth -= tag == "details"
        self.is_button = False

    def handle_data(self, data):
        if self.is_button and data.strip():
            self.folded[data.strip()] = self.depth > 0


def test_what_cannot_be_undone_alone_takes_two_clicks_and_says_so_first(scene, client, now):
    ada = factories.user(username="ada")
    led = factories.team(name="Engines", members=[scene.pia, ada])
    make_hook(url="https://example.org/x", by=scene.pia, team=led, now=now)
    found = {}
    for person, address in ((scene.pia, "/teams/"), (ada, "/teams/"), (scene.pia, f"/teams/{led.slug}/hooks/")):
        client.force_login(person)
        reader = Buttons()
        reader.feed(client.get(address).content.decode())
        found |= reader.folded
    asks = ("Hand over", "Remove", "Leave the team", "Remove the webhook")
    assert {name: found[name] for name in asks} == dict.fromkeys(asks, True)
    assert found["Send an invitation"] is False
