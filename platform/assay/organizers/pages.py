"""The challenge's further pages and its pictures: a list of both, a form for a page, and one that takes a picture in."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext

from assay.accounts.errors import AssayError, ConflictError, InvalidError, NotFoundError
from assay.accounts.models import User
from assay.challenges.access import get_edited_challenge
from assay.challenges.editing import appended, edited, fingerprint, removed
from assay.challenges.models import Challenge
from assay.challenges.pictures import LARGEST_UPLOAD, add_picture, remove_picture
from assay.challenges.writing import current_file
from assay.organizers.desk import Desk
from assay.organizers.desk_fields import PAGE
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.workflow.flow.pushing import push_edit


def pages(request: HttpRequest, slug: str) -> HttpResponse:
    """The pages and the pictures. Pictures are added and removed here, pages removed."""
    challenge, user = get_edited_challenge(person=request.user, slug=slug)
    page, status = frame(challenge, tab="pages"), 200
    if request.method == "POST":
        try:
            _act(request, challenge, user)
        except AssayError as error:
            status = refuse(request, error)
        else:
            return redirect("organizers:pages", slug)
    page["pictures"] = challenge.pictures.defer("content")
    page["made_from"] = fingerprint(current_file(challenge))
    return render(request, "organizers/pages.html", page, status=status)


def _act(request: HttpRequest, challenge: Challenge, user: User) -> None:
    form, now = request.POST, timezone.now()
    if "remove-picture" in form:
        remove_picture(challenge=challenge, name=form["remove-picture"], by=user, now=now)
        messages.success(request, gettext("The picture is removed."))
    elif "remove-page" in form:
        source = without_page(current_file(challenge), challenge, form["remove-page"])
        made_from = form.get("made_from", "")
        push_edit(challenge=challenge, user=user, source=source, made_from=made_from, is_dry_run=False, now=now)
        messages.success(request, gettext("The page is removed."))
    else:
        file = request.FILES.get("picture")
        if file is None:
            raise InvalidError(
                gettext("No picture came with the form."), what_to_do=gettext("Choose a file."), field="picture"
            )
        content = file.read(LARGEST_UPLOAD + 1)
        made = add_picture(challenge=challenge, name=form.get("name", "").strip(), content=content, by=user, now=now)
        said = gettext("Added. Write ![what it shows](picture:%(name)s) in a text to show it there.")
        messages.success(request, said % {"name": made.name})


def without_page(source: str, challenge: Challenge, name: str) -> str:
    """The file without a page."""
    slugs = [page["slug"] for page in challenge.pages]
    if name not in slugs:
        raise NotFoundError(gettext("There is no such page."), found=name[:80])
    return edited(source, {("pages",): None}) if len(slugs) == 1 else removed(source, ("pages", slugs.index(name)))


class PageForm(Desk):
    """The form of a page: one that is there, or (`number` is None) a new one."""

    def __init__(self, request: HttpRequest, challenge: Challenge, *, number: int | None) -> None:
        self.number = number
        super().__init__(request, challenge, groups=PAGE, path=())
        self.path = ("pages", len(self.definition.pages) if number is None else number)

    def _held(self, name: str) -> Any:
        return "" if self.number is None else self.definition.pages[self.number][name]

    def text(self) -> str:
        """The file with the page."""
        slugs = [page["slug"] for page in self.definition.pages]
        if self.rows["slug"].text in {slug for place, slug in enumerate(slugs) if place != self.number}:
            raise ConflictError(gettext("There is a page of this name."), found=self.rows["slug"].text, field="slug")
        if self.number is not None:
            return super().text()
        return appended(self.source, ("pages",), {name: self.rows[name].text for name in ("slug", "title", "text")})


def page(request: HttpRequest, slug: str, name: str | None = None) -> HttpResponse:
    """Write a page, or a new one."""
    challenge, user = get_edited_challenge(person=request.user, slug=slug)
    slugs = [entry["slug"] for entry in challenge.pages]
    if name is not None and name not in slugs:
        raise NotFoundError(gettext("There is no such page."), found=name)
    form = PageForm(request, challenge, number=None if name is None else slugs.index(name))
    if form.is_saved(user):
        return redirect("organizers:page", slug, form.rows["slug"].text)
    title = gettext("A new page") if name is None else form.rows["title"].was
    shown = frame(challenge, tab="pages", title=title, page_name=name) | form.page()
    return render(request, "organizers/desk.html", shown, status=shown["status"])
