"""What somebody typed comes back in its own form: after a refusal, and after a session that has ended.

A view that refuses raises. `keep` lays what was typed into the session, and the browser goes back to the page that the form came from,
after signing in where that is needed. `TypedAgain` then fills the form of that page, with the refusal above it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string

from assay.accounts.errors import Text

NEVER_SHOWN = ("csrf", "password", "token", "secret", "code", "next")
"""Parts of names of fields that no page shows again."""
KEY = "typed"
PLACE = "typed"
"""The id of the notice, so that the browser scrolls to it."""
MOST_CHARACTERS = 1_000_000
MOST_OF_STRANGERS = 100_000
"""How much is kept of a form. It lies in the session, which anybody can make one of."""
FIXED = ("password", "file", "submit", "button", "image", "reset")
SAME_AGAIN = ("made_from", "base")
"""Hidden fields that say what was changed: as they were sent, so that a change in between is noticed."""

Attributes = list[tuple[str, str | None]]


def came_from(request: HttpRequest) -> str:
    """The address of the page of ours that a form stood on, or nothing."""
    page = urlsplit(request.headers.get("Referer", ""))
    if page.netloc != request.get_host() or not page.path.startswith("/") or page.path.startswith("//"):
        return ""
    return f"{page.path}?{page.query}" if page.query else page.path


def texts_of(request: HttpRequest) -> list[tuple[str, str]]:
    """What stood in the fields of a form, without what no page shows again."""
    return [
        (name, text)
        for name, texts in request.POST.lists()
        if not any(word in name.lower() for word in NEVER_SHOWN)
        for text in texts
        if isinstance(text, str)
    ]


def keep(request: HttpRequest, *, words: Text) -> str:
    """Lay a form that was not taken aside. The address to go back to, or nothing where it came from no page of ours."""
    page = came_from(request)
    texts = texts_of(request)
    most = MOST_CHARACTERS if request.user.is_authenticated else MOST_OF_STRANGERS
    is_asked_by_script = "HX-Request" in request.headers
    if not page or not request.COOKIES or is_asked_by_script or sum(len(text) for _name, text in texts) > most:
        return ""
    request.session[KEY] = {"page": page, "form": request.path, "texts": texts, "words": str(words)}
    return page


def back_to_its_form(request: HttpRequest, *, words: Text) -> HttpResponse | None:
    """To the page the form came from, with all that was typed. None where there is no way back."""
    page = keep(request, words=words)
    return HttpResponseRedirect(f"{page}#{PLACE}") if page else None


class TypedAgain:
    """Fills the form of a page with what was typed there before it was refused."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        is_page = answer.headers.get("Content-Type", "").startswith("text/html") and not answer.streaming
        if request.method != "GET" or not is_page or answer.status_code != 200:
            return answer
        kept = request.session.get(KEY)
        if kept and kept["page"] == request.get_full_path():
            del request.session[KEY]
            html = answer.content.decode()
            texts = [(name, text) for name, text in kept["texts"]]
            answer.content = filled(html, page=request.path, form=kept["form"], texts=texts, words=kept["words"])
            if "Content-Length" in answer.headers:
                answer.headers["Content-Length"] = str(len(answer.content))
        return answer


@dataclass(kw_only=True)
class Control:
    """One field: its tag, and where it stands in the page. `inner` is the text of a text area."""

    tag: str
    attributes: dict[str, str | None]
    start: int
    end: int
    inner: tuple[int, int] = (0, 0)
    options: list["Control"] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.attributes.get("name") or ""

    @property
    def kind(self) -> str:
        return (self.attributes.get("type") or "text").lower() if self.tag == "input" else self.tag


@dataclass(kw_only=True)
class Form:
    """A form that posts, its fields, and the folds it lies in."""

    action: str
    start: int
    folds: list[int]
    controls: list[Control] = field(default_factory=list)

    def likeness(self, texts: list[tuple[str, str]]) -> int:
        """How much this is the form that the texts came from. Several of a page may post to the same address."""
        sent, here = {name for name, _text in texts}, {row.name for row in self.controls if row.kind not in FIXED}
        fixed = [row for row in self.controls if row.kind in ("hidden", "button") and row.name in sent]
        same = sum((row.name, row.attributes.get("value") or "") in texts for row in fixed)
        hidden = sum(row.kind == "hidden" and row.name not in SAME_AGAIN for row in fixed)
        return 100 * (same - hidden) + len(sent & here) - len(here - sent)


class Reader(HTMLParser):
    """Finds the forms of a page and where the page's own part begins."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.main = 0
        self._lines = [0]
        for line in html.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self._folds: list[int] = []
        self._form: Form | None = None
        self._open: Control | None = None
        self.feed(html)

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        start, raw = self._at(), self.get_starttag_text() or ""
        given = dict(attrs)
        if tag == "main":
            self.main = start + len(raw)
        elif tag == "details":
            self._folds.append(start)
            if self._form:
                self._form.folds.append(start)
        elif tag == "form" and (given.get("method") or "").lower() == "post":
            self._form = Form(action=given.get("action") or "", start=start, folds=list(self._folds))
            self.forms.append(self._form)
        elif tag in ("input", "textarea", "select", "button") and self._form:
            row = Control(tag=tag, attributes=given, start=start, end=start + len(raw))
            row.inner = (row.end, row.end)
            self._form.controls.append(row)
            self._open = row if tag in ("textarea", "select") else None
        elif tag == "option" and self._open:
            self._open.options.append(Control(tag=tag, attributes=given, start=start, end=start + len(raw)))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "details" and self._folds:
            self._folds.pop()
        elif tag == "textarea" and self._open:
            self._open.inner = (self._open.inner[0], self._at())
        elif tag == "option" and self._open and self._open.options:
            self._open.options[-1].inner = (self._open.options[-1].end, self._at())


def filled(html: str, *, page: str, form: str, texts: list[tuple[str, str]], words: str) -> str:
    """The page with what was typed in the form that posts to `form`, and why it was not taken above it.

    Where the page has no such form any more, both stand at its top, to be copied.
    """
    reader = Reader(html)
    alike = [row for row in reader.forms if urlsplit(urljoin(page, row.action)).path == form]
    if not alike:
        note = render_to_string("pages/_not_taken.html", {"words": words, "typed": dict(texts)})
        return html[: reader.main] + note + html[reader.main :]
    chosen = max(alike, key=lambda row: row.likeness(texts))
    left: dict[str, list[str]] = defaultdict(list)
    for name, text in texts:
        left[name].append(text)
    notice = str(render_to_string("pages/_not_taken.html", {"words": words}))
    changes: list[tuple[int, int, str]] = [(chosen.start, chosen.start, notice)]
    changes += [(at + len("<details"), at + len("<details"), " open") for at in chosen.folds]
    for row in chosen.controls:
        changes += _changes(row, left.get(row.name, []), html)
    for start, end, text in sorted(changes, reverse=True):
        html = html[:start] + text + html[end:]
    return html


def _changes(row: Control, texts: list[str], html: str) -> Iterator[tuple[int, int, str]]:
    """What changes in one field of the page: from where, up to where, to what. Takes its text from those that are left."""
    if row.kind in FIXED or (row.kind == "hidden" and row.name not in SAME_AGAIN):
        return
    if row.kind in ("checkbox", "radio"):
        yield row.start, row.end, _tag(row, checked=(row.attributes.get("value") or "on") in texts)
    elif row.tag == "select":
        for option in row.options:
            value = option.attributes.get("value")
            value = html[slice(*option.inner)].strip() if value is None else value
            yield option.start, option.end, _tag(option, selected=value in texts)
    elif texts and row.tag == "textarea":
        yield *row.inner, "\n" + escape(texts.pop(0))
    elif texts and row.tag == "input":
        yield row.start, row.end, _tag(row, value=texts.pop(0))


def _tag(row: Control, *, value: str | None = None, **switches: bool) -> str:
    """The tag again, with another value or another state."""
    kept = {name: text for name, text in row.attributes.items() if name not in switches}
    if value is not None:
        kept["value"] = value
    words = [name if text is None else f'{name}="{escape(text)}"' for name, text in kept.items()]
    return f"<{' '.join([row.tag, *words, *(name for name, on in switches.items() if on)])}>"
