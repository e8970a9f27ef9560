"""The discussion of a challenge: who reads, who writes, who moderates, and whom a post is told to."""

import pytest
from django.urls import reverse

import factories
from assay.challenges import discussion
from assay.challenges.models import Challenge, Membership, Topic
from assay.notices.models import Notice
from markup import markup


@pytest.fixture
def board() -> str:
    return reverse("portal:discussion", args=["brains"])


@pytest.fixture
def topic(scene, now) -> Topic:
    return discussion.open_topic(challenge=scene.challenge, title="Spacing?", text="Is it *mm*?", by=scene.pia, now=now)


def of(topic: Topic) -> str:
    return reverse("portal:topic", args=["brains", topic.pk])


def test_a_participant_opens_a_topic_and_organizers_hear_of_it(scene, client, board):
    client.force_login(scene.pia)
    answer = client.post(board, {"title": "Spacing?", "text": "Is it *mm*? <script>x</script>"}, follow=True)
    assert "Is it <em>mm</em>? &lt;script&gt;" in answer.content.decode()
    assert [(row.person.username, row.event) for row in Notice.objects.all()] == [("olga", "topic_opened")]
    assert "Spacing?" in markup(client.get(board))


def test_a_post_is_told_to_those_who_wrote_there_and_to_nobody_else(scene, client, topic):
    Notice.objects.all().delete()
    client.force_login(scene.olga)
    assert client.post(of(topic), {"text": "Yes."}).status_code == 302
    assert [(row.person.username, row.event) for row in Notice.objects.all()] == [("pia", "post_written")]


def test_what_was_typed_stays_after_a_refusal(scene, client, board):
    client.force_login(scene.pia)
    answer = client.post(board, {"title": "", "text": "Still here"})
    assert answer.status_code == 400
    assert "Still here" in markup(answer)


@pytest.mark.parametrize(("name", "status"), [("otto", 403), (None, 302)])
def test_who_does_not_take_part_reads_and_does_not_write(scene, client, topic, name, status):
    if name:
        client.force_login(getattr(scene, name))
    assert client.get(of(topic)).status_code == 200
    assert client.post(of(topic), {"text": "Me too"}).status_code == status
    assert topic.posts.count() == 1


def test_a_board_is_as_private_as_its_challenge(scene, client, topic, board):
    Challenge.objects.filter(pk=scene.challenge.pk).update(is_private=True)
    client.force_login(scene.otto)
    for address in (board, of(topic)):
        assert client.get(address).status_code == 404
        assert client.post(address, {"title": "x", "text": "x"}).status_code == 404


def test_a_topic_is_found_in_its_own_challenge_alone(scene, client, topic):
    factories.challenge(slug="lungs")
    assert client.get(reverse("portal:topic", args=["lungs", topic.pk])).status_code == 404


def test_moderators_remove_with_a_reason_and_bring_back(scene, client, topic, now):
    post = discussion.write_post(topic=topic, text="Buy pills", by=scene.pia, now=now)
    client.force_login(scene.olga)
    assert "with a reason" in markup(client.post(of(topic), {"act": "remove", "post": post.pk}))
    assert client.post(of(topic), {"act": "remove", "post": post.pk, "reason": "advertising"}).status_code == 302
    shown = markup(client.get(of(topic)))
    assert "Buy pills" not in shown
    assert "This post was removed: advertising" in shown
    assert client.post(of(topic), {"act": "bring-back", "post": post.pk}).status_code == 302
    assert "Buy pills" in markup(client.get(of(topic)))


def test_authors_remove_their_own_posts_and_participants_nobody_elses(scene, client, topic, now):
    theirs = discussion.write_post(topic=topic, text="From Olga", by=scene.olga, now=now)
    own = topic.posts.first()
    client.force_login(scene.pia)
    assert client.post(of(topic), {"act": "remove", "post": own.pk}).status_code == 302
    for form in (
        {"act": "remove", "post": theirs.pk, "reason": "x"},
        {"act": "lock"},
        {"act": "bring-back", "post": own.pk},
    ):
        assert client.post(of(topic), form).status_code == 403
    assert [row.removed_at is None for row in topic.posts.all()] == [False, True]


def test_a_closed_topic_takes_posts_of_moderators_alone(scene, client, topic, now):
    editor = factories.user(username="edda")
    factories.membership(challenge=scene.challenge, user=editor, role=Membership.Role.EDITOR)
    client.force_login(editor)
    for act in ("lock", "pin"):
        assert client.post(of(topic), {"act": act}).status_code == 302
    topic.refresh_from_db()
    assert (topic.is_locked, topic.is_pinned) == (True, True)
    assert client.post(of(topic), {"text": "The end."}).status_code == 302
    client.force_login(scene.pia)
    assert "have closed this topic" in markup(client.post(of(topic), {"text": "One more"}))
    assert topic.posts.count() == 2


def test_one_person_cannot_flood_a_board(scene, topic, now, monkeypatch):
    monkeypatch.setattr(discussion, "MOST_PER_HOUR", 2)
    discussion.write_post(topic=topic, text="Again", by=scene.pia, now=now)
    with pytest.raises(discussion.LimitReachedError, match="at most 2 posts"):
        discussion.write_post(topic=topic, text="And again", by=scene.pia, now=now)


def test_nothing_is_written_where_a_challenge_is_archived(scene, client, topic):
    Challenge.objects.update(status="archived")
    client.force_login(scene.pia)
    assert client.post(of(topic), {"text": "Hello?"}).status_code == 403


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"act": "nonsense"}, 400),
        ({"act": "remove", "post": "x"}, 404),
        ({"act": "remove", "post": "9" * 30}, 404),
        ({}, 400),
    ],
)
def test_nonsense_is_refused(scene, client, topic, form, status):
    client.force_login(scene.olga)
    assert client.post(of(topic), form).status_code == status


def test_a_long_board_has_pages_at_a_constant_price(scene, client, topic, board, now, django_assert_max_num_queries):
    for number in range(35):
        Topic.objects.create(challenge=scene.challenge, title=f"T{number}", by=scene.pia, at=now, last_post_at=now)
    with django_assert_max_num_queries(20):
        assert "Next page" in markup(client.get(board))
    assert "Previous page" in markup(client.get(f"{board}?page=2"))


def test_authors_change_their_own_posts_and_moderators_read_what_stood_there(scene, client, topic):
    post = topic.posts.get()
    client.force_login(scene.pia)
    assert client.post(of(topic), {"act": "edit", "post": post.pk, "text": "Is it *cm*?"}).status_code == 302
    shown = client.get(of(topic)).content.decode()
    assert "Is it <em>cm</em>?" in shown
    assert "edited" in markup(client.get(of(topic)))
    assert "Is it *mm*" not in shown
    client.force_login(scene.olga)
    assert "Is it *mm*?" in markup(client.get(of(topic)))


def test_the_same_text_again_is_no_change(scene, topic, now):
    post = topic.posts.get()
    assert (
        discussion.edit_post(topic=topic, post_id=post.pk, text=" Is it *mm*? ", by=scene.pia, now=now).edited_at
        is None
    )
    assert not post.former_texts.exists()


@pytest.mark.parametrize(
    ("change", "status"), [("other", 403), ("removed", 409), ("locked", 409), ("empty", 400), ("nowhere", 404)]
)
def test_a_change_that_may_not_be_is_refused(scene, client, topic, now, change, status):
    post = topic.posts.get()
    form = {"act": "edit", "post": post.pk, "text": "Typed anew"}
    client.force_login(scene.olga if change == "other" else scene.pia)
    if change == "removed":
        discussion.moderate(topic=topic, act="remove", by=scene.pia, now=now, post_id=post.pk)
    elif change == "locked":
        discussion.moderate(topic=topic, act="lock", by=scene.olga, now=now)
    form |= {"text": " "} if change == "empty" else {"post": "0"} if change == "nowhere" else {}
    answer = client.post(of(topic), form)
    assert answer.status_code == status
    post.refresh_from_db()
    assert post.text == "Is it *mm*?"


def test_changes_count_among_the_posts_of_an_hour(scene, topic, now, monkeypatch):
    monkeypatch.setattr(discussion, "MOST_PER_HOUR", 2)
    post = topic.posts.get()
    discussion.edit_post(topic=topic, post_id=post.pk, text="Once", by=scene.pia, now=now)
    with pytest.raises(discussion.LimitReachedError):
        discussion.edit_post(topic=topic, post_id=post.pk, text="Twice", by=scene.pia, now=now)


def test_topics_are_found_by_words_in_titles_and_posts(scene, client, topic, board, now):
    other = discussion.open_topic(challenge=scene.challenge, title="Licence", text="CC-BY?", by=scene.pia, now=now)
    hidden = discussion.write_post(topic=other, text="Buy pills", by=scene.pia, now=now)
    discussion.moderate(topic=other, act="remove", by=scene.pia, now=now, post_id=hidden.pk)
    for words, found in (
        ("SPACING", {"Spacing?"}),
        ("is mm", {"Spacing?"}),
        ("mm CC-BY", set()),
        ("?", {"Spacing?", "Licence"}),
        ("pills", set()),
        ("%", set()),
    ):
        answer = client.get(board, {"q": words})
        assert {row.title for row in answer.context["topics"]} == found, words
    assert {row.post_count for row in client.get(board, {"q": "cc"}).context["topics"]} == {1}
    assert "No topic has all of these words" in markup(client.get(board, {"q": "pills"}))


def test_a_change_that_is_too_long_stays_in_its_form(scene, client, topic):
    client.force_login(scene.pia)
    answer = client.post(of(topic), {"act": "edit", "post": topic.posts.get().pk, "text": "mm " * 4000})
    assert answer.status_code == 400
    assert answer.content.decode().count("mm mm mm") > 100
