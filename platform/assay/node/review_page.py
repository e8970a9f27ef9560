"""The review page: a small server on 127.0.0.1 for the person who decides what leaves. It talks to nobody but the browser and, on
approval, the challenge's server.

Other programs of the same machine, and pages of the web in the same browser, can reach 127.0.0.1 too. So the address that is printed
carries a secret, which becomes a cookie of this site only (`SameSite=Strict`). Requests under another host name are refused (a name
that somebody points to 127.0.0.1), and a decision needs a second secret from the page itself. The page loads nothing from anywhere.
"""

import hmac
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

from assay.client.errors import ClientError
from assay.node.folder import FolderInvalid
from assay.node.review_sheet import ReviewSheet
from assay.node.review_slices import AXES, SHOWN, CaseSlices, NoPicture
from assay.node.site_problems import SiteProblem

COOKIE = "assay-review"
LONGEST_FORM = 4096
CASE = re.compile(r"/draft/(?P<key>[0-9a-f-]{1,64})/case/(?P<case>[0-9]{1,7})(?P<picture>/picture)?")
POLICY = "default-src 'none'; img-src 'self'; style-src 'nonce-{nonce}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
STYLE = """
:root { color-scheme: light dark; --line: #8885; --bad: #b3261e; --ok: #1b6e3c }
@media (prefers-color-scheme: dark) { :root { --bad: #ffb4ab; --ok: #8fd8a8 } }
code { overflow-wrap: anywhere }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
pre { overflow: auto; max-width: 100%; box-sizing: border-box; border: 1px solid var(--line); padding: .75rem; max-height: 32rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.warning { border-left: 4px solid var(--bad); padding: .2rem .8rem; margin: .5rem 0 } .failed { color: var(--bad); font-weight: 600 }
.quiet { opacity: .75 }
form { display: inline-block; margin: .5rem 1rem .5rem 0; vertical-align: top; max-width: calc(100% - 1rem) }
button { font: inherit; padding: .45rem 1.1rem; border: 1px solid var(--line); border-radius: .3rem; cursor: pointer }
button.go { background: #1b6e3c; color: #fff } label { display: inline-block; max-width: 100% }
input { font: inherit; padding: .4rem; width: 24rem; max-width: 100%; box-sizing: border-box }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 14rem), 1fr)); gap: 1rem }
figure { margin: 0 } figcaption { font-weight: 600 } figure img { width: 100%; height: auto; display: block; background: #000 }
a[aria-current] { font-weight: 700; text-decoration: none } input[type=number] { width: 8rem }
.notice { border: 1px solid var(--line); padding: .5rem .8rem; border-radius: .3rem }
"""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One draft in the list."""

    key: str
    submission: str
    case_count: int
    failed: int
    is_held: bool


class Desk(Protocol):
    """What the page shows and does. Each method is called from the server's threads, one at a time."""

    title: str

    def waiting(self) -> Sequence[Waiting]:
        """The drafts that wait for a decision."""

    def sheet(self, key: str) -> tuple[str, ReviewSheet] | None:
        """The submission and the sheet of one draft."""

    @property
    def reviewers(self) -> int:
        """How many different people have to approve."""

    def slices(self, key: str, *, place: int, input_name: str) -> CaseSlices | None:
        """The pictures of one case of a draft."""

    def decide(self, key: str, *, action: str, reason: str, by: str = "") -> str:
        """Approve, reject or hold. Returns a sentence about what happened."""


@dataclass(kw_only=True)
class ReviewServer:
    """Serves one desk. `address` is what the person opens."""

    desk: Desk
    port: int = 0
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    form_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def __post_init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]

    @property
    def address(self) -> str:
        """Where the page is, with its secret."""
        return f"http://127.0.0.1:{self.port}/?secret={self.secret}"

    def serve(self) -> None:
        """Answer until `stop`."""
        self._http.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End serving."""
        self._http.shutdown()
        self._http.server_close()


def _handler(server: ReviewServer) -> Callable[..., BaseHTTPRequestHandler]:
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "Assay", ""

        def log_message(self, *_arguments: Any) -> None:
            """Addresses hold the secret: nothing is logged."""

        def do_GET(self) -> None:
            with one_at_a_time:
                self._get()

        def do_POST(self) -> None:
            with one_at_a_time:
                self._post()

        def _get(self) -> None:
            parts = urlsplit(self.path)
            if not self._is_our_host():
                return
            given = parse_qs(parts.query).get("secret", [""])[0]
            if given and hmac.compare_digest(given, server.secret):
                self._redirect("/", cookie=True)
                return
            if not self._is_known():
                return
            if parts.path == "/":
                self._send(list_page(server.desk.title, server.desk.waiting(), nonce=(nonce := _nonce())), nonce=nonce)
                return
            if parts.path == "/favicon.ico":
                self._send(b"", nonce=_nonce(), kind="image/png", status=HTTPStatus.NO_CONTENT)
                return
            if case := CASE.fullmatch(parts.path):
                self._case(View.asked(case, parse_qs(parts.query)), is_picture=bool(case["picture"]))
                return
            found = server.desk.sheet(parts.path.removeprefix("/draft/")) if parts.path.startswith("/draft/") else None
            if found is None:
                self._refuse(HTTPStatus.NOT_FOUND, "There is no such draft. It may have been decided meanwhile.")
                return
            key, nonce = parts.path.removeprefix("/draft/"), _nonce()
            self._send(
                draft_page(
                    key,
                    submission=found[0],
                    sheet=found[1],
                    form_secret=server.form_secret,
                    nonce=nonce,
                    reviewers=server.desk.reviewers,
                ),
                nonce=nonce,
            )

        def _case(self, view: "View", *, is_picture: bool) -> None:
            """The pictures of one case: a page, or one of its pictures."""
            try:
                slices = server.desk.slices(view.key, place=view.case, input_name=view.input_name)
                if slices is None:
                    self._refuse(
                        HTTPStatus.NOT_FOUND, "There is no such case. The result may have been decided meanwhile."
                    )
                elif is_picture:
                    picture = slices.picture(view.what, axis=view.axis, place=view.within(slices).place)
                    self._send(picture, nonce=_nonce(), kind="image/png")
                else:
                    nonce = _nonce()
                    self._send(case_page(view.within(slices), slices=slices, nonce=nonce), nonce=nonce)
            except (NoPicture, SiteProblem, ClientError, FolderInvalid) as problem:
                self._refuse(HTTPStatus.NOT_FOUND, str(problem))

        def _post(self) -> None:
            if not self._is_our_host() or not self._is_known():
                return
            origin = self.headers.get("Origin", "")
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > LONGEST_FORM:
                self._refuse(HTTPStatus.BAD_REQUEST, "The form cannot be read.")
                return
            form = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
            given = form.get("form_secret", [""])[0]
            if origin != f"http://127.0.0.1:{server.port}" or not hmac.compare_digest(
                given.encode(), server.form_secret.encode()
            ):
                self._refuse(HTTPStatus.FORBIDDEN, "This decision did not come from the review page.")
                return
            key = urlsplit(self.path).path.removeprefix("/draft/")
            action, reason = form.get("action", [""])[0], form.get("reason", [""])[0]
            said = server.desk.decide(key, action=action, reason=reason, by=form.get("by", [""])[0])
            nonce = _nonce()
            self._send(list_page(server.desk.title, server.desk.waiting(), nonce=nonce, notice=said), nonce=nonce)

        def _is_our_host(self) -> bool:
            if self.headers.get("Host", "") == f"127.0.0.1:{server.port}":
                return True
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "This page answers under 127.0.0.1 only.")
            return False

        def _is_known(self) -> bool:
            try:
                cookie = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
            except CookieError:
                cookie = None
            if cookie is not None and hmac.compare_digest(cookie.value.encode(), server.secret.encode()):
                return True
            self._refuse(HTTPStatus.FORBIDDEN, "Open the address that `assay site review` printed.")
            return False

        def _redirect(self, place: str, *, cookie: bool) -> None:
            self.send_response(HTTPStatus.SEE_OTHER)
            self.send_header("Location", place)
            if cookie:
                self.send_header("Set-Cookie", f"{COOKIE}={server.secret}; HttpOnly; SameSite=Strict; Path=/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _refuse(self, status: HTTPStatus, words: str) -> None:
            nonce = _nonce()
            self._send(_page("Review", f"<p>{escape(words)}</p>", nonce=nonce), nonce=nonce, status=status)

        def _send(
            self,
            page: str | bytes,
            *,
            nonce: str,
            status: HTTPStatus = HTTPStatus.OK,
            kind: str = "text/html; charset=utf-8",
        ) -> None:
            content = page.encode() if isinstance(page, str) else page
            self.send_response(status)
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(content)),
                "Content-Security-Policy": POLICY.format(nonce=nonce),
                "Cache-Control": "no-store",
                "Referrer-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
                "X-Content-Type-Options": "nosniff",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _nonce() -> str:
    return secrets.token_urlsafe(16)


def list_page(title: str, waiting: Sequence[Waiting], *, nonce: str, notice: str = "") -> str:
    """The drafts that wait."""
    rows = "".join(
        f'<tr><th scope="row"><a href="/draft/{escape(draft.key)}">Submission {escape(draft.submission)}</a></th>'
        f'<td class="number">{draft.case_count}</td><td class="number">{draft.failed}</td>'
        f"<td>{'held' if draft.is_held else 'waits for you'}</td></tr>"
        for draft in waiting
    )
    table = (
        '<div class="scroll"><table><thead><tr><th scope="col">Result</th><th scope="col" class="number">Cases</th>'
        f'<th scope="col" class="number">Failed</th><th scope="col">State</th></tr></thead><tbody>{rows}</tbody></table></div>'
        if waiting
        else "<p>Nothing waits for a decision.</p>"
    )
    said = f'<p class="notice" role="status">{escape(notice)}</p>' if notice else ""
    intro = '<p class="quiet">Nothing on these pages leaves this machine until you approve it.</p>'
    return _page(title, f"<h1>{escape(title)}</h1>{intro}{said}{table}", nonce=nonce)


def draft_page(
    key: str, *, submission: str, sheet: ReviewSheet, form_secret: str, nonce: str, reviewers: int = 1
) -> str:
    """One draft: warnings, the exact text, the decision, what changed, every case."""
    parts = [
        f'<p><a href="/">All results</a></p><h1>Submission {escape(submission)}</h1>',
        "".join(f'<p class="warning">{escape(text)}</p>' for text in sheet.warnings),
        "<h2>Exactly this would leave</h2>",
        f'<pre tabindex="0">{escape(sheet.text)}</pre>',
        (
            f'<p class="quiet">Signed without spaces: {sheet.byte_count} bytes, SHA-256 <code>{sheet.sha256}</code>. '
            "The signature and the public key of this site are added. Nothing else.</p>"
        ),
        f'<p class="quiet">Withheld, because too few patients could be told from it: {escape(", ".join(sheet.withheld))}</p>'
        if sheet.withheld
        else "",
        _decision_forms(key, form_secret=form_secret, reviewers=reviewers),
        _differences_table(sheet),
        _cases_table(sheet, key=key),
    ]
    return _page(f"Submission {submission}", "".join(parts), nonce=nonce)


def _decision_forms(key: str, *, form_secret: str, reviewers: int) -> str:
    def form(action: str, inner: str) -> str:
        return (
            f'<form method="post" action="/draft/{escape(key)}"><input type="hidden" name="form_secret" value="{form_secret}">'
            f'<input type="hidden" name="action" value="{action}">{inner}</form>'
        )

    reason = '<label>Reason, for the organizers<br><input name="reason" required maxlength="200"></label> '
    approve = '<button class="go">Approve and send</button>'
    if reviewers > 1:
        name = '<label>Your name. Two people have to approve.<br><input name="by" required maxlength="80"></label> '
        approve = f'{name}<button class="go">Approve</button>'
    return (
        "<h2>Decide</h2>"
        + form("approve", approve)
        + form("hold", "<button>Hold for later</button>")
        + form("reject", f"{reason}<button>Reject</button>")
    )


def _differences_table(sheet: ReviewSheet) -> str:
    if not sheet.compared_with:
        return "<h2>Since the last release</h2><p>Nothing was released on this data before.</p>"
    rows = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th><td class="number">{_number(row.before)}</td>'
        f'<td class="number">{_number(row.now)}</td></tr>'
        for row in sheet.differences
    )
    titles = (
        '<th scope="col">Number</th><th scope="col" class="number">Then</th><th scope="col" class="number">Now</th>'
    )
    head = f"<thead><tr>{titles}</tr></thead>"
    table = (
        f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>' if rows else "<p>The same numbers.</p>"
    )
    return f"<h2>Since the last release (submission {escape(sheet.compared_with)})</h2>{table}"


def _cases_table(sheet: ReviewSheet, *, key: str) -> str:
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in sheet.columns)
    rows = "".join(
        f'<tr><th scope="row"><a href="/draft/{escape(key)}/case/{row.place}">{escape(row.case_id)}</a></th>'
        f'<td class="{"failed" if row.has_failed else ""}">{escape(row.verdict)} {escape(row.reason)}</td>'
        + "".join(f'<td class="number">{_number(value)}</td>' for value in row.values)
        + "</tr>"
        for row in sheet.cases
    )
    return (
        '<h2>Every case</h2><p class="quiet">For your eyes: this table and the pictures behind it stay here.</p>'
        f'<div class="scroll"><table><thead><tr><th scope="col">Case</th><th scope="col">Ended</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


@dataclass(frozen=True, kw_only=True)
class View:
    """Which case is looked at, along which axis and at which slice. `place` is None for the best one."""

    key: str
    case: int
    axis: str = "axial"
    place: int | None = None
    what: str = "image"
    input_name: str = ""

    @classmethod
    def asked(cls, case: re.Match[str], query: Mapping[str, Sequence[str]]) -> "View":
        """From an address. What means nothing in it is left out."""
        axis, what, number = (query.get(name, [""])[0] for name in ("axis", "what", "slice"))
        is_number = number.isascii() and number.isdecimal() and len(number) < 7
        return cls(
            key=case["key"],
            case=int(case["case"]),
            axis=axis if axis in AXES else "axial",
            place=max(0, int(number) - 1) if is_number else None,
            what=what if what in SHOWN else "image",
            input_name=query.get("input", [""])[0],
        )

    def within(self, slices: CaseSlices) -> "ViewAt":
        """With a slice that there is. Raises NoPicture."""
        count = slices.length(self.axis)
        place = slices.best_place(self.axis) if self.place is None else min(self.place, count - 1)
        return ViewAt(view=self, place=place, count=count)


@dataclass(frozen=True, kw_only=True)
class ViewAt:
    """A view of a slice that there is."""

    view: View
    place: int
    count: int

    def address(self, changes: Mapping[str, str | int], *, tail: str = "") -> str:
        """Of the same view with some changes."""
        words = {"axis": self.view.axis, "slice": self.place + 1, "input": self.view.input_name, **changes}
        query = urlencode({name: value for name, value in words.items() if value != ""})
        return f"/draft/{self.view.key}/case/{self.view.case}{tail}?{query}"


def case_page(at: ViewAt, *, slices: CaseSlices, nonce: str) -> str:
    """Image, reference and prediction of one slice, side by side, and the way to other slices, axes, inputs and cases."""

    def link(words: str, *, is_now: bool = False, **changes: str | int) -> str:
        mark = ' aria-current="true"' if is_now else ""
        return f'<a{mark} href="{escape(at.address(changes))}">{escape(words)}</a>'

    axes = " · ".join(
        f'<a{" aria-current=true" if axis == at.view.axis else ""} href="/draft/{at.view.key}/case/{at.view.case}?'
        f'{escape(urlencode({"axis": axis, "input": slices.input_name}))}">{axis}</a>'
        for axis in AXES
    )
    inputs = " · ".join(link(name, input=name, is_now=name == slices.input_name) for name in slices.files.inputs)
    steps = [(-10, "10 back"), (-1, "one back"), (1, "one on"), (10, "10 on")]
    moves = " · ".join(
        link(words, slice=at.place + 1 + step) for step, words in steps if 0 <= at.place + step < at.count
    )
    following = (
        "" if slices.files.is_last else f' · <a href="/draft/{at.view.key}/case/{at.view.case + 1}">Next case</a>'
    )
    figures = "".join(_figure(at, what, slices=slices) for what in SHOWN)
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in (("axis", at.view.axis), ("input", slices.input_name))
    )
    body = (
        f'<p><a href="/draft/{at.view.key}">The result</a>{following}</p>'
        f"<h1>Case {escape(slices.files.case_id)}</h1>"
        '<p class="quiet">For your eyes: these pictures are made on this machine and stay here. The patient\'s right is on the left.</p>'
        f'<nav aria-label="Views"><p>{axes}</p><p>Input: {inputs}</p></nav>'
        f'<div class="figures">{figures}</div>'
        f'<nav aria-label="Slices"><p>Slice {at.place + 1} of {at.count} · {moves}</p></nav>'
        f'<form method="get" action="/draft/{at.view.key}/case/{at.view.case}">{hidden}<label>Go to slice<br>'
        f'<input type="number" name="slice" min="1" max="{at.count}" value="{at.place + 1}"></label> <button>Go</button></form>'
    )
    return _page(f"Case {slices.files.case_id}", body, nonce=nonce)


def _figure(at: ViewAt, what: str, *, slices: CaseSlices) -> str:
    files = {"reference": slices.files.references, "prediction": slices.files.predictions}.get(
        what, slices.files.inputs
    )
    words = what.capitalize()
    if not files:
        return (
            f'<figure><figcaption>{words}</figcaption><p class="warning">There is no {what} of this case.</p></figure>'
        )
    address = escape(at.address({"what": what}, tail="/picture"))
    return f'<figure><figcaption>{words}</figcaption><img src="{address}" alt="{words}, {at.view.axis} slice {at.place + 1}"></figure>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def _page(title: str, body: str, *, nonce: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)} · Assay</title><style nonce="{nonce}">{STYLE}</style></head><body><main>{body}</main></body></html>'
    )
