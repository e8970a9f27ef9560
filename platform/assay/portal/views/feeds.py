"""Atom feeds of what everybody may see: new challenges, and what the organizers of one announce. They need no sign-in."""

from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.contrib.syndication.views import Feed
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils.feedgenerator import Atom1Feed
from django.utils.translation import gettext_lazy as _

from assay.accounts.errors import NotFoundError
from assay.challenges.access import get_challenge, visible_challenges
from assay.challenges.models import Announcement, Challenge
from assay.notices.services import public_address

MOST = 30
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of a feed without entries."""
Strangers = AnonymousUser()


class SteadyFeed(Atom1Feed):
    """Atom that stays the same while nothing is new. Django's own says "now" where there are no entries."""

    def latest_post_date(self) -> datetime:
        return super().latest_post_date() if self.items else FIRST


class PublicFeed(Feed):  # type: ignore[type-arg]  # not generic at run time
    """Atom, with addresses below the public one."""

    feed_type = SteadyFeed

    def get_feed(self, obj: Any, request: HttpRequest) -> Any:
        """Whatever name the request asked for, links lead to the public address."""
        feed = super().get_feed(obj, request)
        feed.feed["feed_url"] = public_address(request.path)
        return feed


class ChallengesFeed(PublicFeed):
    """The newest public challenges."""

    title = _("Challenges on Assay")
    subtitle = _("Medical-image challenges, the newest first")

    def link(self) -> str:
        return public_address(reverse("portal:home"))

    def items(self) -> QuerySet[Challenge]:
        return visible_challenges(person=Strangers).order_by("-created_at", "-pk")[:MOST]

    def item_title(self, item: Challenge) -> str:
        return item.title

    def item_description(self, item: Challenge) -> str:
        return item.summary

    def item_link(self, item: Challenge) -> str:
        return public_address(reverse("portal:challenge", args=[item.slug]))

    def item_pubdate(self, item: Challenge) -> datetime:
        return item.created_at

    def item_updateddate(self, item: Challenge) -> datetime:
        return item.created_at


class NewsFeed(PublicFeed):
    """What the organizers of one public challenge announce."""

    def get_object(self, request: HttpRequest, slug: str) -> Challenge:  # noqa: ARG002  Django's signature
        try:
            return get_challenge(person=Strangers, slug=slug)
        except NotFoundError as error:
            raise Http404 from error

    def title(self, obj: Challenge) -> str:
        return str(_("News of %(challenge)s") % {"challenge": obj.title})

    def link(self, obj: Challenge) -> str:
        return public_address(reverse("portal:news", args=[obj.slug]))

    def subtitle(self, obj: Challenge) -> str:
        return obj.summary

    def items(self, obj: Challenge) -> QuerySet[Announcement]:
        return obj.announcements.select_related("challenge")[:MOST]

    def item_title(self, item: Announcement) -> str:
        return item.title

    def item_description(self, item: Announcement) -> str:
        return item.text_html

    def item_link(self, item: Announcement) -> str:
        return public_address(f"{reverse('portal:news', args=[item.challenge.slug])}#n{item.pk}")

    def item_pubdate(self, item: Announcement) -> datetime:
        return item.at

    def item_updateddate(self, item: Announcement) -> datetime:
        return item.at
