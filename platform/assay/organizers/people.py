"""Who takes part, who asks to, who is invited, who signed and downloaded what."""

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_GET

from assay.accounts.errors import AssayError, InvalidError, NotFoundError
from assay.accounts.models import User
from assay.accounts.numbers import whole_number
from assay.challenges.access import get_organized_challenge
from assay.challenges.models import Challenge, Membership
from assay.challenges.registration import end_invite, invite_by_mail, make_invite
from assay.challenges.services import decide_memberships
from assay.challenges.telling import mail_challenge_invite, public_invite_address
from assay.organizers.views import frame
from assay.pages.errors import error_words
from assay.pages.tables import FORMATS, PAGE, table_file
from assay.submissions.hints import hints_of
from assay.testsets.agreements import downloads_of, signatures_of

DECISIONS = (Membership.Status.ACCEPTED, Membership.Status.REJECTED, Membership.Status.BANNED)
MOST_ADDRESSES = 100
JUST_MADE = "challenge-invite"
"""Where a new link waits to be shown once, after the redirect."""


def people(request: HttpRequest, slug: str) -> HttpResponse:
    """Everybody, with their answers. Decisions for one or many at once. As CSV with `?format=csv`."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    if request.method == "POST":
        try:
            _decide(request, challenge, user=user)
        except InvalidError as error:
            messages.error(request, error_words(error))
        return redirect(request.get_full_path())
    status = request.GET.get("status", "")
    rows = challenge.memberships.select_related("user", "team").order_by("-status", "created_at", "pk")
    if status in Membership.Status.values:
        rows = rows.filter(status=status)
    if (as_format := request.GET.get("format", "")) in FORMATS:
        return people_file(challenge, rows, as_format=as_format)
    page = frame(challenge, tab="people", memberships=Paginator(rows, PAGE).get_page(request.GET.get("page")))
    page.update(hints=hints_of(challenge), origin_days=settings.ORIGIN_DAYS, status=status)
    page["statuses"] = Membership.Status.values
    return render(request, "organizers/people.html", page)


def _decide(request: HttpRequest, challenge: Challenge, *, user: User) -> None:
    """The same decision about everybody who is ticked."""
    ids = [number for text in request.POST.getlist("membership") if (number := whole_number(text)) is not None]
    chosen = list(challenge.memberships.select_related("user").filter(pk__in=ids, role=Membership.Role.PARTICIPANT))
    if not chosen:
        raise NotFoundError(gettext("There is no such person here."), what_to_do=gettext("Tick somebody first."))
    wanted = request.POST.get("status", "")
    if wanted not in DECISIONS:
        raise InvalidError(gettext("There is no such decision."), found=wanted[:40], expected=", ".join(DECISIONS))
    count = decide_memberships(
        memberships=chosen,
        status=Membership.Status(wanted),
        reason=request.POST.get("reason", ""),
        user=user,
        now=timezone.now(),
    )
    said = ngettext("Decided about %(count)s person.", "Decided about %(count)s people.", count)
    messages.success(request, said % {"count": count})


def people_file(challenge: Challenge, rows: QuerySet[Membership], *, as_format: str) -> HttpResponse:
    """Everybody with what they wrote: one column per question that was asked."""
    listed = list(rows)
    questions = list(dict.fromkeys(answer["question"] for row in listed for answer in row.answers))
    header = (
        *("user", "name", "e-mail", "institution", "country", "ORCID", "team", "role", "status", "reason", "since"),
        *("rules version", "rules accepted"),
        *questions,
    )
    return table_file(
        name=f"{challenge.slug}-people",
        header=header,
        rows=[_line(row, questions=questions) for row in listed],
        as_format=as_format,
    )


def _line(row: Membership, *, questions: list[str]) -> tuple[object, ...]:
    answers = {answer["question"]: answer["answer"] for answer in row.answers}
    person = row.user
    return (
        *(person.username, str(person), person.email, person.institution, person.country, person.orcid),
        *(row.team.name if row.team else "", row.role, row.status, row.reason, row.created_at.isoformat()),
        *(row.rules_version, row.rules_accepted_at.isoformat() if row.rules_accepted_at else ""),
        *(answers.get(question, "") for question in questions),
    )


def invites(request: HttpRequest, slug: str) -> HttpResponse:
    """Invitations by mail and by link."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    page = frame(challenge, tab="people")
    if request.method == "POST":
        try:
            _invite(request, challenge, user=user)
        except AssayError as error:
            page["error"] = error_words(error)
        else:
            return redirect("organizers:invites", slug)
    page["new_link"] = request.session.pop(JUST_MADE, "")
    page["invites"] = challenge.invites.prefetch_related("used__user").order_by("-pk")[:200]
    page["now"] = timezone.now()
    return render(request, "organizers/invites.html", page, status=400 if page.get("error") else 200)


def _invite(request: HttpRequest, challenge: Challenge, *, user: User) -> None:
    now = timezone.now()
    if "end" in request.POST:
        number = whole_number(request.POST["end"]) or 0
        end_invite(challenge=challenge, invite_id=number, by=user, now=now)
        messages.success(request, gettext("The invitation can be used no more."))
    elif "addresses" in request.POST:
        addresses = list(dict.fromkeys(request.POST["addresses"].replace(",", " ").split()))
        if not 1 <= len(addresses) <= MOST_ADDRESSES:
            raise InvalidError(
                gettext("Write between one and %(most)s addresses.") % {"most": MOST_ADDRESSES},
                found=str(len(addresses)),
            )
        for address in addresses:
            invite, secret = invite_by_mail(challenge=challenge, address=address, by=user, now=now)
            mail_challenge_invite(invite=invite, secret=secret, by=user, now=now)
        said = ngettext(
            "%(count)s invitation is on its way.", "%(count)s invitations are on their way.", len(addresses)
        )
        messages.success(request, said % {"count": len(addresses)})
    else:
        uses, days = (whole_number(request.POST.get(name, "")) or 0 for name in ("uses", "days"))
        _row, secret = make_invite(challenge=challenge, uses=uses, days=days, by=user, now=now)
        request.session[JUST_MADE] = public_invite_address(secret)


@require_GET
def downloads(request: HttpRequest, slug: str) -> HttpResponse:
    """Who signed which agreement, and who downloaded which data. As CSV with `?format=csv`."""
    challenge, _ = get_organized_challenge(person=request.user, slug=slug)
    rows = [
        (row.at, "downloaded", row.testset.name, f"v{row.testset.version}", row.user, "")
        for row in downloads_of(challenge)
    ] + [
        (row.at, "signed", row.agreement.testset_name, row.agreement.sha256[:8], row.user, row.name)
        for row in signatures_of(challenge)
    ]
    rows.sort(key=lambda row: row[0], reverse=True)
    if (as_format := request.GET.get("format", "")) in FORMATS:
        lines = [
            (
                at.isoformat(),
                what,
                name,
                version,
                person.username if person else "",
                person.email if person else "",
                signed,
            )
            for at, what, name, version, person, signed in rows
        ]
        header = ("at", "what", "data", "version", "user", "e-mail", "signed as")
        return table_file(name=f"{challenge.slug}-downloads", header=header, rows=lines, as_format=as_format)
    page = frame(challenge, tab="people", rows=rows[:200], total=len(rows))
    return render(request, "organizers/downloads.html", page)
