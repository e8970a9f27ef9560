"""Messages: written here, looked at with how many people they go to, sent, and kept in a log."""

from django.contrib import messages as told
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import ngettext

from assay.accounts.errors import AssayError
from assay.accounts.numbers import whole_number
from assay.challenges.access import get_organized_challenge
from assay.challenges.texts import render_markdown
from assay.organizers.views import frame
from assay.pages.errors import refuse
from assay.pages.typed import again, note
from assay.submissions.messages import ALL, audience_of, audiences, send_message

SHOWN = 20
"""How many names a preview lists."""


def write(request: HttpRequest, slug: str) -> HttpResponse:
    """A form, its preview, and what was sent before."""
    challenge, user = get_organized_challenge(person=request.user, slug=slug)
    form = request.POST if request.method == "POST" else again(request) or QueryDict()
    title, text = form.get("title", ""), form.get("text", "")
    key = form.get("audience") or request.GET.get("audience") or ALL
    page = frame(challenge, tab="messages", title=title, text=text, audience=key)
    status = 200
    try:
        if form:
            audience = audience_of(challenge, key)
            page.update(goes_to=audience, names=audience.people[:SHOWN], preview=render_markdown(text))
        if "send" in request.POST:
            message = send_message(
                challenge=challenge,
                key=key,
                title=title,
                text=text,
                expected=whole_number(request.POST.get("expected", "")),
                by=user,
                now=timezone.now(),
            )
            said = ngettext("Sent to %(count)s person.", "Sent to %(count)s people.", message.people)
            told.success(request, said % {"count": message.people})
            return redirect("organizers:messages", slug)
        if request.method == "POST":
            note(request, [], is_filled=True)
    except AssayError as error:
        status = refuse(request, error) if request.method == "POST" else status
    page["audiences"] = audiences(challenge)
    page["sent"] = challenge.messages.select_related("by")[:100]
    return render(request, "organizers/messages.html", page, status=status)
