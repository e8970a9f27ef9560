"""Who takes part, who asks to, who is invited, who signed and downloaded what."""

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext

from assay.accounts.errors import AssayError, InvalidError, NotFoundError
from assay.accounts.models import User
from assay.accounts.numbers import whole_number
from assay.challenges.access import get_organized_challenge
from assay.challenges.models import Challenge, Membership
from assay.challenges.registration import end_invite, invite_by_mail, make_invite
from assay.challenges.services import decide_memberships
from assay.challenges.telling import mail_challenge_invite, public_invite_address
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.pages.tables import FORMATS, PAGE, table_file
from assay.submissions.hints import hints_of
from assay.testsets.agreements import find_signature, give_back, log_of, revoke, signatures_of
from assay.testsets.models import Signature

DECISIONS = (Membership.Status.ACCEPTED, Membership.Status.REJECTED, Membership.Status.BANNED)
MOST_ADDRESSES = 100
MOST_LINES = 200
WHAT_WORDS = {
    "signed": gettext_lazy("signed"),
    "withdrawn": gettext_lazy("withdrawn"),
    "revoked": gettext_lazy("revoked"),
    "given_back": gettext_lazy("holds again"),
    "downloaded": gettext_lazy("downloaded"),
}
"""The lines of the log of data, in words."""
JUST_MADE = "challenge-invite"
"""Where a new link waits to be shown once, after the redirect."""


def people(request: HttpRequest, slug: str) -> HttpResponse:
    """Everybody, with their answers. Decisions for one or many at once. As CSV with `?format=csv`."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    if request.method == "POST":
        _decide(request, challenge, user=user)
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
    if not ids:
        raise InvalidError(gettext("Nobody is ticked."), what_to_do=gettext("Tick somebody first."))
    if not chosen:
        raise NotFoundError(gettext("There is no such person here."), what_to_do=gettext("Look at the list again."))
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
    page, status = frame(challenge, tab="people"), 200
    if request.method == "POST":
        try:
            with transaction.atomic():  # all of them or none
                _invite(request, challenge, user=user)
        except AssayError as error:
            status = refuse(request, error)
        else:
            return redirect("organizers:invites", slug)
    page["new_link"] = request.session.pop(JUST_MADE, "")
    page["invites"] = challenge.invites.prefetch_related("used__user").order_by("-pk")[:200]
    page["now"] = timezone.now()
    return render(request, "organizers/invites.html", page, status=status)


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
                field="addresses",
            )
        for address in addresses:
            invite, secret = invite_by_mail(challenge=challenge, address=address, by=user, now=now)
            mail_challenge_invite(invite=invite, secret=secret, by=user, now=now)
        said = ngettext(
            "%(count)s invitation is on its way.", "%(count)s invitations are on their way.", len(addresses)
        )
        messages.success(request, said % {"count": len(addresses)})
    else:
        uses, days = (_count(request.POST.get(name, ""), field=name) for name in ("uses", "days"))
        _row, secret = make_invite(challenge=challenge, uses=uses, days=days, by=user, now=now)
        request.session[JUST_MADE] = public_invite_address(secret)


def _count(text: str, *, field: str) -> int:
    number = whole_number(text.strip())
    if number is None:
        raise InvalidError(
            gettext("This is no number."), found=text[:40], expected=gettext("a whole number"), field=field
        )
    return number


def downloads(request: HttpRequest, slug: str) -> HttpResponse:
    """Whose agreements hold, to revoke and give back, and the log of data. The log as CSV with `?format=csv`."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    page, status = frame(challenge, tab="people"), 200
    if request.method == "POST":
        try:
            _decide_agreement(request, challenge, user=user)
        except AssayError as error:
            status = refuse(request, error)
        else:
            return redirect("organizers:downloads", slug)
    lines = log_of(challenge)
    if (as_format := request.GET.get("format", "")) in FORMATS:
        header = ("at", "what", "data", "version", "user", "e-mail", "signed as or reason")
        rows = [
            (line.at.isoformat(), line.what, line.data, line.version, line.username, line.email, line.says)
            for line in lines
        ]
        return table_file(name=f"{challenge.slug}-downloads", header=header, rows=rows, as_format=as_format)
    page["signatures"] = [row for row in signatures_of(challenge) if row.end != Signature.End.WITHDRAWN]
    page["lines"] = [(line, WHAT_WORDS[line.what]) for line in lines[:MOST_LINES]]
    page["more"] = max(0, len(lines) - MOST_LINES)
    return render(request, "organizers/downloads.html", page, status=status)


def _decide_agreement(request: HttpRequest, challenge: Challenge, *, user: User) -> None:
    """Revoke one agreement, or give it back."""
    number, now = whole_number(request.POST.get("signature", "")) or 0, timezone.now()
    row = find_signature(challenge=challenge, signature_id=number)
    name, person = row.agreement.testset_name, row.user
    if request.POST.get("action") == "revoke":
        reason = request.POST.get("reason", "")
        revoke(challenge=challenge, name=name, person=person, reason=reason, by=user, now=now)
        messages.success(request, gettext("Revoked. %(person)s can download these data no more.") % {"person": person})
    else:
        give_back(challenge=challenge, name=name, person=person, by=user, now=now)
        messages.success(request, gettext("The agreement of %(person)s holds again.") % {"person": person})
