"""The discussion of a challenge: its topics, and one topic with its posts."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from assay.accounts.errors import AssayError
from assay.accounts.numbers import whole_number
from assay.challenges.access import get_challenge, signed_in
from assay.challenges.discussion import (
    edit_post,
    get_topic,
    may_moderate,
    may_write,
    moderate,
    open_topic,
    topics_of,
    write_post,
)
from assay.pages.errors import refuse
from assay.pages.tables import page_number
from assay.portal.views.challenge import frame

TOPICS, POSTS = 30, 50
"""On one page."""


def topics(request: HttpRequest, slug: str) -> HttpResponse:
    """The topics, or those with some words in them (`?q=`), and a form that opens one."""
    challenge = get_challenge(person=request.user, slug=slug)
    page = frame(request, challenge, tab="discussion")
    status = 200
    if request.method == "POST":
        signed_in(request.user)
        form = {name: request.POST.get(name, "") for name in ("title", "text")}
        try:
            topic = open_topic(challenge=challenge, by=request.user, now=timezone.now(), **form)
        except AssayError as error:
            status = refuse(request, error)
        else:
            return redirect("portal:topic", slug, topic.pk)
    number = page_number(request)
    search = request.GET.get("q", "").strip()
    rows = list(topics_of(challenge, search=search)[(number - 1) * TOPICS : number * TOPICS + 1])
    page.update(topics=rows[:TOPICS], number=number, has_more=len(rows) > TOPICS, search=search)
    page["may_write"] = may_write(person=request.user, challenge=challenge)
    return render(request, "portal/discussion.html", page, status=status)


def topic(request: HttpRequest, slug: str, topic_id: int) -> HttpResponse:
    """One topic with its posts, the oldest first. A form below writes, buttons moderate."""
    found = get_topic(person=request.user, slug=slug, topic_id=topic_id)
    challenge = found.challenge
    page = frame(request, challenge, tab="discussion", topic=found)
    status = 200
    if request.method == "POST":
        signed_in(request.user)
        try:
            place = _act(request, slug, topic_id)
        except AssayError as error:
            status = refuse(request, error)
        else:
            return redirect(reverse("portal:topic", args=[slug, topic_id]) + place)
    number = page_number(request)
    posts = found.posts.select_related("by", "removed_by").prefetch_related("former_texts")
    rows = list(posts[(number - 1) * POSTS : number * POSTS + 1])
    page.update(posts=rows[:POSTS], number=number, has_more=len(rows) > POSTS)
    page["moderates"] = may_moderate(person=request.user, challenge=challenge)
    page["may_write"] = may_write(person=request.user, challenge=challenge) and (
        page["moderates"] or not found.is_locked
    )
    return render(request, "portal/topic.html", page, status=status)


def _act(request: HttpRequest, slug: str, topic_id: int) -> str:
    """What a form of the page asks for. Answers the place on the page to go to."""
    topic, now = get_topic(person=request.user, slug=slug, topic_id=topic_id), timezone.now()
    act = request.POST.get("act", "")
    if not act:
        post = write_post(topic=topic, text=request.POST.get("text", ""), by=request.user, now=now)
        last = (topic.posts.count() - 1) // POSTS + 1
        return f"?page={last}#post-{post.pk}" if last > 1 else f"#post-{post.pk}"
    number, page = whole_number(request.POST.get("post", "")) or 0, page_number(request)
    place = (f"?page={page}" if page > 1 else "") + (f"#post-{number}" if number else "")
    if act == "edit":
        edit_post(topic=topic, post_id=number, text=request.POST.get("text", ""), by=request.user, now=now)
        return place
    moderate(topic=topic, act=act, by=request.user, now=now, post_id=number, reason=request.POST.get("reason", ""))
    messages.success(request, _("Done. The history of the challenge names you."))
    return place
