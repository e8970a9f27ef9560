"""What somebody was told, what they want to hear of, and the link that ends mails."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET

from assay.accounts.numbers import whole_number
from assay.challenges.access import organized_by, signed_in
from assay.notices.choices import FOR_ORGANIZERS, Wish, choose, read_token, unsubscribe, wishes_of
from assay.notices.models import ByMail, Kind
from assay.notices.selectors import get_notice, notices_of
from assay.notices.services import mark_read
from assay.pages.tables import PAGE


def notices(request: HttpRequest) -> HttpResponse:
    """The newest first. A POST marks all of them as read."""
    user = signed_in(request.user)
    if request.method == "POST":
        mark_read(person=user, now=timezone.now())
        return redirect("portal:notices")
    listed, older = notices_of(user, length=PAGE, before=whole_number(request.GET.get("before", "")))
    return render(request, "portal/notices.html", {"notices": listed, "older": older})


@require_GET
def open_notice(request: HttpRequest, notice_id: int) -> HttpResponse:
    """Go to the page that a notice is about. It counts as read."""
    user = signed_in(request.user)
    notice = get_notice(person=user, notice_id=notice_id)
    mark_read(person=user, now=timezone.now(), notice_id=notice.pk)
    return redirect(notice.path)


def choices(request: HttpRequest) -> HttpResponse:
    """The matrix: each kind of notice, on the website or not, and when by mail."""
    user = signed_in(request.user)
    wishes = [wish for wish in wishes_of(user) if wish.kind not in FOR_ORGANIZERS or organizes(request)]
    if request.method == "POST":
        asked = [
            Wish(kind=wish.kind, is_shown=f"{wish.kind}-shown" in request.POST, by_mail=by_mail)
            for wish in wishes
            if (by_mail := request.POST.get(f"{wish.kind}-mail", "")) in ByMail.values
        ]
        choose(person=user, wishes=asked)
        messages.success(request, _("Kept."))
        return redirect("portal:notice-choices")
    return render(request, "portal/notice_choices.html", {"wishes": wishes, "times": ByMail.choices})


def organizes(request: HttpRequest) -> bool:
    """Whether this person decides about others: kinds of notices that nobody else gets are shown to them alone."""
    user = signed_in(request.user)
    return user.is_staff or organized_by(user).exists()


@csrf_exempt  # mail programs send the POST of RFC 8058 by themselves: the link is the permission
def end_mails(request: HttpRequest, token: str) -> HttpResponse:
    """End mails of one kind, or all. A GET asks first: mail scanners follow links."""
    if request.method == "POST":
        person, kind = unsubscribe(token)
    else:
        person, kind = read_token(token)
    words = str(Kind(kind).label) if kind in Kind.values else _("every kind of notice")
    page = {"address": person.email, "words": words, "is_done": request.method == "POST"}
    return render(request, "portal/unsubscribe.html", page)
