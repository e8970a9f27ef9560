"""What somebody typed comes back in its own form, and what is wrong stands at its field: after a refusal, and after a session that ended.

A view that refuses raises, or answers with its page and says what is wrong by `note`. Either way what was typed and what is wrong is laid
into the session, and the browser goes back to the page that the form came from, after signing in where that is needed. So the browser's
Back and Reload ask nothing and send nothing. `TypedAgain` fills the form of the page, puts each sentence below its field, and the first
such field has the focus. A sentence about the whole form stands above it. A view that needs more of what was typed asks for it by `again`.

It stays while that page is loaded again. It is gone once a form was taken, or another page was opened. A program that posts without
saying which page its form came from is answered at once, with the status of the refusal.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from html import escape
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from django.contrib.messages import get_messages
from django.contrib.messages.storage.base import BaseStorage
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.loader import render_to_string
from django.utils import timezone

from assay.accounts.errors import Text
from assay.accounts.sign_in import add_one, address_of

Faults = Sequence[tuple[str, str]]
"""Names of fields with what is wrong there, as sentences. An empty name stands for the whole form."""
NEVER_SHOWN = ("csrf", "password", "token", "secret", "code", "next")
"""Parts of names of fields that no page shows again."""
KEY = "typed"
NOTED, FILLED, ALSO, LAID = "assay.faults", "assay.form_is_filled", "assay.also_typed", "assay.laid_aside"
"""Where a view leaves what is wrong with the form that it answers, and whether that lies in the session."""
MOST_CHARACTERS = 1_000_000
MOST_OF_STRANGERS = 100_000
"""How much is kept of a form. It lies in the session, which anybody can make one of."""
FORMS_OF_STRANGERS, WITHIN = 60, timedelta(hours=1)
"""How many forms of strangers at one address are kept. Those beyond are answered at once, with what was typed."""
FIXED = ("password", "file", "submit", "button", "image", "reset")
UNSEEN = ("hidden", "submit", "button", "image", "reset")
AT_FIELD = "fault"
"""How the ids begin of what stands at a field."""
SAME_AGAIN = ("made_from", "base")
"""Hidden fields that say what was changed: as they were sent, so that a change in between is noticed."""


def _number(text: str) -> float:
    if set(text) - set("0123456789.-+eE"):  # Python also reads `nan` and `1_0`
        raise ValueError
    return float(text)


READERS: Mapping[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "datetime-local": datetime.fromisoformat,
    "number": _number,
    "time": time.fromisoformat,
}
"""Kinds of fields that a browser leaves empty where the text is of another kind. What reads such a text raises ValueError."""

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


def note(
    request: HttpRequest, faults: Faults, *, is_filled: bool = False, also: Mapping[str, str] | None = None
) -> None:
    """What is wrong with the form that was posted. No faults: the view says so itself, or shows what a form would do.

    `is_filled`: the view shows what was typed by itself, and finds it by `again`. `also`: what `again` tells beside what was typed.
    """
    request.META.setdefault(NOTED, []).extend(faults)
    request.META[FILLED] = is_filled
    request.META[ALSO] = dict(also or {})


def again(request: HttpRequest) -> QueryDict | None:
    """What was typed into the form of this very address and refused, for a view that shows it by itself. None where nothing was."""
    kept = request.session.get(KEY) if request.method == "GET" else None
    if not kept or (kept["page"], kept["form"]) != (request.get_full_path(), request.path):
        return None
    typed = QueryDict(mutable=True)
    for name, text in [*kept["texts"], *kept["also"].items()]:
        typed.appendlist(name, text)
    return typed


def noted(request: HttpRequest) -> Faults:
    """What was noted of the form that was posted."""
    faults: Faults = request.META.get(NOTED, ())
    return faults


def faults_of(form: BaseForm) -> Faults:
    """What Django found wrong with a form. Fields that nobody sees count as the whole form."""
    seen = {field.name: field.html_name for field in form.visible_fields()}
    return [(seen.get(name, ""), str(words)) for name, errors in form.errors.items() for words in errors]


def keep(request: HttpRequest, *, words: Text, at: str = "") -> str:
    """Lay a form that was not taken aside. The address to go back to, or nothing where it came from no page of ours."""
    return _lay_aside(request, faults=[(at, str(words))])


def _lay_aside(request: HttpRequest, *, faults: Faults, secrets: Collection[str] = ()) -> str:
    page = came_from(request)
    texts = [(name, text) for name, text in texts_of(request) if name not in secrets]
    most = MOST_CHARACTERS if request.user.is_authenticated else MOST_OF_STRANGERS
    is_asked_by_script = "HX-Request" in request.headers
    if not page or not request.COOKIES or is_asked_by_script or sum(len(text) for _name, text in texts) > most:
        return ""
    if not request.user.is_authenticated and _keeps_too_much(request):
        return ""
    request.META[LAID] = True
    request.session[KEY] = {
        "page": page,
        "form": request.path,
        "texts": texts,
        "faults": [(name, str(words)) for name, words in faults],
        "also": request.META.get(ALSO, {}),
        "fills": not request.META.get(FILLED),
        "is_shown": False,
    }
    return page


def _keeps_too_much(request: HttpRequest) -> bool:
    """Whether strangers at this address have had enough kept for now: each time may be a new session."""
    counted = f"typed:{address_of(request)}"
    times, _until = add_one(counted, within=WITHIN, now=timezone.now())
    return times > FORMS_OF_STRANGERS


def back_to_its_form(request: HttpRequest, *, words: Text, at: str = "") -> HttpResponse | None:
    """To the page the form came from, with all that was typed. None where there is no way back."""
    page = keep(request, words=words, at=at)
    return HttpResponseRedirect(page) if page else None


class TypedAgain:
    """Fills the form of a page with what was typed there before it was refused, and says at each field what is wrong."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        if request.method == "POST":
            return _after_a_form(request, answer)
        is_page = not answer.streaming and answer.headers.get("Content-Type", "").startswith("text/html")
        if (
            request.method == "GET"
            and is_page
            and 200 <= answer.status_code < 300
            and "HX-Request" not in request.headers
        ):
            _shown_again(request, answer)
        return answer


def _after_a_form(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """Back to the form's page where it was refused. Where there is no way back, the view's own page with what was typed in it."""
    is_page = not answer.streaming and answer.headers.get("Content-Type", "").startswith("text/html")
    faults = [*noted(request), *_of_other_views(answer)] if is_page else []
    if not faults and (NOTED not in request.META or not is_page):
        if KEY in request.session and request.session[KEY]["is_shown"] and LAID not in request.META:
            del request.session[KEY]
        return answer
    html = answer.content.decode()
    secrets = [row.name for form in Reader(html).forms for row in form.controls if row.kind == "password"]
    if page := _lay_aside(request, faults=faults, secrets=secrets):
        if isinstance(unread := get_messages(request), BaseStorage):
            unread.used = False  # nobody reads the page that is thrown away here
        return HttpResponseRedirect(page)
    texts = [(name, text) for name, text in texts_of(request) if name not in SAME_AGAIN]  # the page is new
    fills = not request.META.get(FILLED)
    _replace(answer, filled(html, page=request.path, form=request.path, texts=texts, faults=faults, fills=fills))
    return answer


def _shown_again(request: HttpRequest, answer: HttpResponse) -> None:
    """Fill the form that came from this page. What was shown before is forgotten once another page is opened."""
    kept = request.session.get(KEY)
    if not kept:
        return
    if kept["page"] != request.get_full_path():
        if kept["is_shown"]:
            del request.session[KEY]
        return
    if not kept["is_shown"]:
        request.session[KEY] = kept | {"is_shown": True}
    texts, faults = ([(a, b) for a, b in kept[name]] for name in ("texts", "faults"))
    html = answer.content.decode()
    said = filled(html, page=request.path, form=kept["form"], texts=texts, faults=faults, fills=kept["fills"])
    _replace(answer, said)


def _of_other_views(answer: HttpResponse) -> Faults:
    """What is wrong with the form of a view that is not ours."""
    form = (getattr(answer, "context_data", None) or {}).get("form")
    return faults_of(form) if isinstance(form, BaseForm) and form.is_bound else ()


def _replace(answer: HttpResponse, html: str) -> None:
    answer.content = html
    if "Content-Length" in answer.headers:
        answer.headers["Content-Length"] = str(len(answer.content))


@dataclass(kw_only=True)
class Control:
    """One field: its tag, and where it stands in the page. `inner` is the text of a text area, `after` the end of it and its label."""

    tag: str
    attributes: dict[str, str | None]
    start: int
    end: int
    after: int = 0
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
        self._html = html
        self._lines = [0]
        for line in html.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self._folds: list[int] = []
        self._form: Form | None = None
        self._open: Control | None = None
        self._labelled: list[Control] | None = None
        self.feed(html)

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def _behind(self) -> int:
        """Where the tag ends that is read now."""
        return self._html.find(">", self._at()) + 1 or len(self._html)

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        start, raw = self._at(), self.get_starttag_text() or ""
        given = dict(attrs)
        if tag == "main":
            self.main = start + len(raw)
        elif tag == "details":
            self._folds.append(start)
            if self._form:
                self._form.folds.append(start)
        elif tag == "label":
            self._labelled = []
        elif tag == "form" and (given.get("method") or "").lower() == "post":
            self._form = Form(action=given.get("action") or "", start=start, folds=list(self._folds))
            self.forms.append(self._form)
        elif tag in ("input", "textarea", "select", "button") and self._form:
            end = start + len(raw)
            row = Control(tag=tag, attributes=given, start=start, end=end, after=end, inner=(end, end))
            self._form.controls.append(row)
            if self._labelled is not None:
                self._labelled.append(row)
            self._open = row if tag in ("textarea", "select") else None
        elif tag == "option" and self._open:
            self._open.options.append(Control(tag=tag, attributes=given, start=start, end=start + len(raw)))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "details" and self._folds:
            self._folds.pop()
        elif tag == "label":
            for row in self._labelled or ():
                row.after = self._behind()
            self._labelled = None
        elif tag in ("textarea", "select") and self._open:
            self._open.inner = (self._open.inner[0], self._at())
            self._open.after = self._behind()
        elif tag == "option" and self._open and self._open.options:
            self._open.options[-1].inner = (self._open.options[-1].end, self._at())


def filled(html: str, *, page: str, form: str, texts: list[tuple[str, str]], faults: Faults, fills: bool = True) -> str:
    """The page with what was typed in the form that posts to `form`, and what is wrong at its fields or above it.

    Where the page has no such form any more, both stand at its top, to be copied.
    """
    reader = Reader(html)
    alike = [row for row in reader.forms if urlsplit(urljoin(page, row.action)).path == form]
    if not alike:
        words = {"faults": [words for _name, words in faults], "typed": dict(texts), "has_focus": True}
        note = render_to_string("pages/_not_taken.html", words)
        return html[: reader.main] + note + html[reader.main :]
    chosen = max(alike, key=lambda row: row.likeness(texts))
    left: dict[str, list[str]] = defaultdict(list)
    for name, text in texts:
        left[name].append(text)
    changes: list[tuple[int, int, str]] = [(at + len("<details"), at + len("<details"), " open") for at in chosen.folds]
    marks, told = _told(chosen, faults) if faults else ({}, [])
    for row in chosen.controls:
        if fills:
            changes += _changes(row, left.get(row.name, []), html, marks.get(row.start))
        elif row.start in marks:
            changes.append((row.start, row.end, _tag(row, marks[row.start])))
    for start, end, text in sorted([*changes, *told], reverse=True):
        html = html[:start] + text + html[end:]
    return html


def _told(form: Form, faults: Faults) -> tuple[dict[int, dict[str, str]], list[tuple[int, int, str]]]:
    """Attributes of the fields that are wrong, by where each begins, and the sentences with their places in the page."""
    found: dict[str, list[Control]] = defaultdict(list)
    for row in form.controls:
        if row.kind not in UNSEEN:
            found[row.name].append(row)
    for name, rows in list(found.items()):
        if rows[0].kind not in ("checkbox", "radio"):  # each of several boxes of one name is a field of its own
            found |= {f"{name}#{at}": [row] for at, row in enumerate(rows[1:], start=1)}
            found[name] = found[f"{name}#0"] = rows[:1]
    by_field: dict[str, list[str]] = defaultdict(list)
    for name, words in faults:
        by_field[name if found.get(name) else ""].append(words)
    marks: dict[int, dict[str, str]] = {}
    told: list[tuple[int, int, str]] = []
    for number, (name, rows) in enumerate(found.items()):
        if name and name in by_field:
            place = f"{AT_FIELD}-{number}"
            described = f"{rows[0].attributes.get('aria-describedby') or ''} {place}".strip()
            marks[rows[0].start] = {"aria-invalid": "true", "aria-describedby": described}
            said = str(render_to_string("pages/_fault.html", {"faults": by_field[name], "place": place}))
            told.append((rows[-1].after, rows[-1].after, said))
    for row in form.controls:
        if row.attributes.pop("autofocus", "not there") != "not there":
            marks.setdefault(row.start, {})
    wrong = [start for start, attributes in marks.items() if attributes]
    if wrong:
        marks[min(wrong)]["autofocus"] = ""
    if by_field[""]:
        above = {"faults": by_field[""], "has_focus": not wrong}
        told.append((form.start, form.start, str(render_to_string("pages/_not_taken.html", above))))
    return marks, told


def _changes(
    row: Control, texts: list[str], html: str, marks: Mapping[str, str] | None
) -> Iterator[tuple[int, int, str]]:
    """What changes in one field of the page: from where, up to where, to what. Takes its text from those that are left."""
    is_kept = row.kind in FIXED or (row.kind == "hidden" and row.name not in SAME_AGAIN)
    if row.kind in ("checkbox", "radio"):
        yield row.start, row.end, _tag(row, marks or {}, checked=(row.attributes.get("value") or "on") in texts)
    elif row.tag == "input" and texts and not is_kept:
        text = texts.pop(0)
        shown = {"value": text} if _holds(row.kind, text) else {"value": text, "type": "text"}
        yield row.start, row.end, _tag(row, {**(marks or {}), **shown})
    elif marks is not None:
        yield row.start, row.end, _tag(row, marks)
    if row.tag == "select":
        for option in row.options:
            value = option.attributes.get("value")
            value = html[slice(*option.inner)].strip() if value is None else value
            yield option.start, option.end, _tag(option, {}, selected=value in texts)
    elif row.tag == "textarea" and texts:
        yield *row.inner, "\n" + escape(texts.pop(0))


def _holds(kind: str, text: str) -> bool:
    """Whether a browser shows this text in a field of this kind."""
    try:
        return not text or READERS.get(kind, str)(text) is not None
    except ValueError:
        return False


def _tag(row: Control, marks: Mapping[str, str], **switches: bool) -> str:
    """The tag again, with other attributes or another state."""
    kept = {**{name: text for name, text in row.attributes.items() if name not in switches}, **marks}
    words = [name if not text else f'{name}="{escape(text)}"' for name, text in kept.items()]
    return f"<{' '.join([row.tag, *words, *(name for name, on in switches.items() if on)])}>"
