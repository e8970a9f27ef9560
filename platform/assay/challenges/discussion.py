"""A small board for each challenge: topics, posts below them, and moderation by organizers and editors.

Everybody who sees the challenge reads it. Who takes part or works on it writes. A post that is removed leaves its place and the reason, so
that answers to it stay readable. Nothing is mailed at once to everybody: a new post is told to those who wrote under the topic, and a
new topic to organizers and editors.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, LimitReachedError, NotAllowedError, NotFoundError
from assay.accounts.models import User
from assay.challenges.access import Person, get_challenge, is_helper, membership_of, signed_in
from assay.challenges.announcements import written
from assay.challenges.models import Challenge, FormerText, Membership, Post, Topic
from assay.challenges.telling import tell_post

MOST_PER_HOUR = 20
MOST_WORDS, LONGEST_SEARCH = 8, 100
LONGEST_REASON = 300
ACTS = ("pin", "unpin", "lock", "unlock", "remove", "bring-back")


def may_write(*, person: Person, challenge: Challenge) -> bool:
    """Who takes part, or works on the challenge. Not in one that is archived."""
    if challenge.status == Challenge.Status.ARCHIVED:
        return False
    membership = membership_of(person=person, challenge=challenge)
    is_in = membership is not None and membership.status == Membership.Status.ACCEPTED
    return is_in or may_moderate(person=person, challenge=challenge)


def may_moderate(*, person: Person, challenge: Challenge) -> bool:
    """Organizers and editors."""
    return is_helper(person=person, challenge=challenge, role=Membership.Role.EDITOR)


def topics_of(challenge: Challenge, *, search: str = "") -> QuerySet[Topic]:
    """Pinned ones first, then those with the newest posts. With `search`, those with each of its words in title or posts. One query.

    A post that was removed, and what stood in one before it was changed, are not found.
    """
    shown = Count("posts", filter=Q(posts__removed_at=None), distinct=True)
    topics = challenge.topics.select_related("by").annotate(post_count=shown)
    for word in search[:LONGEST_SEARCH].replace("\0", " ").split()[:MOST_WORDS]:
        posts = Post.objects.filter(topic=OuterRef("pk"), removed_at=None, text__icontains=word)
        topics = topics.filter(Q(title__icontains=word) | Exists(posts))
    return topics


def get_topic(*, person: Person, slug: str, topic_id: int) -> Topic:
    """A topic of a challenge that this person may know of."""
    challenge = get_challenge(person=person, slug=slug)
    topic = challenge.topics.select_related("challenge", "by").filter(pk=topic_id).first()
    if topic is None:
        raise NotFoundError(_("There is no such topic."), what_to_do=_("Look at the challenge's discussion."))
    return topic


def open_topic(*, challenge: Challenge, title: str, text: str, by: Person, now: datetime) -> Topic:
    """Begin a topic with its first post."""
    person = refuse_stranger(person=by, challenge=challenge)
    shown, words, html = written(title=title, text=text, missing=_("A topic needs a title and a text."))
    with transaction.atomic():
        refuse_flood(person=person, now=now)
        topic = Topic.objects.create(challenge=challenge, title=shown, by=person, at=now, last_post_at=now)
        post = Post.objects.create(topic=topic, text=words, text_html=html, by=person, at=now)
        tell_post(post=post, is_new=True, now=now)
    return topic


def write_post(*, topic: Topic, text: str, by: Person, now: datetime) -> Post:
    """Write under a topic."""
    person = refuse_stranger(person=by, challenge=topic.challenge)
    _title, words, html = written(title=topic.title, text=text, missing=_("A post needs a text."))
    with transaction.atomic():
        refuse_flood(person=person, now=now)
        topic = Topic.objects.select_for_update().select_related("challenge").get(pk=topic.pk)
        if topic.is_locked and not may_moderate(person=person, challenge=topic.challenge):
            raise ConflictError(_("The organizers have closed this topic."), what_to_do=_("Open another one."))
        post = Post.objects.create(topic=topic, text=words, text_html=html, by=person, at=now)
        Topic.objects.filter(pk=topic.pk).update(last_post_at=now)
        tell_post(post=post, is_new=False, now=now)
    return post


def edit_post(*, topic: Topic, post_id: int, text: str, by: Person, now: datetime) -> Post:
    """Change what one wrote oneself. What stood there before is kept for moderators. The same text again changes nothing."""
    person = refuse_stranger(person=by, challenge=topic.challenge)
    _title, words, html = written(title=topic.title, text=text, missing=_("A post needs a text."))
    with transaction.atomic():
        refuse_flood(person=person, now=now)
        post = topic.posts.select_for_update(of=("self",)).filter(pk=post_id).first()
        if post is None:
            raise NotFoundError(_("There is no such post."))
        if post.by_id != person.pk:
            raise NotAllowedError(_("Only its author changes a post."), what_to_do=_("Answer it, or remove it."))
        if post.removed_at is not None:
            raise ConflictError(_("This post was removed."), what_to_do=_("Write another one."))
        if topic.is_locked and not may_moderate(person=person, challenge=topic.challenge):
            raise ConflictError(_("The organizers have closed this topic."), what_to_do=_("Open another one."))
        if post.text != words:
            FormerText.objects.create(post=post, text=post.text, until=now)
            post.text, post.text_html, post.edited_at = words, html, now
            post.save(update_fields=["text", "text_html", "edited_at"])
    return post


def moderate(*, topic: Topic, act: str, by: Person, now: datetime, post_id: int = 0, reason: str = "") -> None:
    """Pin or close a topic, remove a post with a reason, or bring it back. An author may remove their own post."""
    person = signed_in(by)
    if act not in ACTS:
        raise InvalidError(_("There is no such act."), found=act[:40], expected=", ".join(ACTS))
    post = topic.posts.filter(pk=post_id).first()
    is_own = act == "remove" and post is not None and post.by_id == person.pk
    if not is_own and not may_moderate(person=person, challenge=topic.challenge):
        raise NotAllowedError(_("Only organizers and editors of the challenge may do this."))
    with transaction.atomic():
        if act in ("remove", "bring-back"):
            _take_out(post, is_removed=act == "remove", is_own=is_own, reason=reason, by=person, now=now)
        else:
            value = {"pin": {"is_pinned": True}, "unpin": {"is_pinned": False}}.get(act, {"is_locked": act == "lock"})
            Topic.objects.filter(pk=topic.pk).update(**value)
        record_event(
            actor=person,
            verb=f"discussion.{act.replace('-', '_')}",
            subject=topic,
            challenge_slug=topic.challenge.slug,
            now=now,
            post=post_id or None,
            reason=reason.strip()[:LONGEST_REASON],
        )


def _take_out(post: Post | None, *, is_removed: bool, is_own: bool, reason: str, by: User, now: datetime) -> None:
    if post is None:
        raise NotFoundError(_("There is no such post."))
    words = reason.strip()[:LONGEST_REASON]
    if is_removed and not is_own and not words:
        raise InvalidError(
            _("A post is removed with a reason."),
            expected=_("what everybody may read"),
            what_to_do=_("Write one."),
            field="reason",
        )
    values = {"removed_at": now, "removed_by": by, "reason": words}
    Post.objects.filter(pk=post.pk).update(
        **(values if is_removed else {"removed_at": None, "removed_by": None, "reason": ""})
    )


def refuse_stranger(*, person: Person, challenge: Challenge) -> User:
    """The person, where they may write. Raises NotAllowedError."""
    user = signed_in(person)
    if may_write(person=user, challenge=challenge):
        return user
    raise NotAllowedError(_("Who takes part in the challenge writes here."), what_to_do=_("Join the challenge first."))


def refuse_flood(*, person: User, now: datetime) -> None:
    """One person writes and changes so many posts in an hour. The person's row is locked, so that two at once are counted both."""
    User.objects.select_for_update(no_key=True).get(pk=person.pk)
    since = now - timedelta(hours=1)
    written_at = Post.objects.filter(by=person, at__gt=since).values_list("at", flat=True)
    changed_at = FormerText.objects.filter(post__by=person, until__gt=since).values_list("until", flat=True)
    recent = sorted([*written_at, *changed_at])
    if len(recent) >= MOST_PER_HOUR:
        raise LimitReachedError(
            _("One person writes at most %(most)s posts in an hour.") % {"most": MOST_PER_HOUR},
            retry_at=recent[0] + timedelta(hours=1),
        )
