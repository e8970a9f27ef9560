"""What is typed into a form is never lost: not by a refusal, and not by a session that has ended."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import quote, urljoin, urlsplit

import pytest
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test import Client
from django.urls import resolve

from assay.pages import typed
from assay.pages.typed import KEY, filled
from every_page import every_page
from markup import markup

pytestmark = pytest.mark.django_db
OWN_TEXT = ("text", "search", "textarea")
PROFILE = "/account/profile/"
ACTS = ("action", "act", "status", "name")
SIGN_IN = f"/login/?next={quote(PROFILE, safe='')}"
SECRET = "a secret of theirs"
WRONG = "²"
"""No name, no number, no address, no time, no file."""


class Forms(HTMLParser):
    """The forms of a page that post: action, fields with their values, names of what is typed freely, buttons."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[dict] = []
        self.inside, self.select = False, ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        name, kind = given.get("name"), given.get("type", "text") if tag == "input" else tag
        if tag == "form":
            self.inside = given.get("method") == "post"
            if self.inside:
                found = {"action": given.get("action") or "", "fields": {}, "typed": [], "buttons": [], "secrets": []}
                self.found.append(found)
        elif not self.inside:
            return
        elif tag == "button":
            self.found[-1]["buttons"].append((name, given.get("value") or ""))
        elif tag == "select":
            self.select = name
            self.found[-1]["fields"][name] = ""
        elif tag == "option" and self.select:
            if "selected" in given or not self.found[-1]["fields"][self.select]:
                self.found[-1]["fields"][self.select] = given.get("value") or ""
        elif name and kind == "hidden":
            self.found[-1]["fields"][name] = given.get("value") or ""
        elif name and kind == "password":
            self.found[-1]["secrets"].append(name)
        elif name and tag in ("input", "textarea") and kind not in ("checkbox", "radio", "file"):
            self.found[-1]["typed"].append(name)

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "form"


class Faults(HTMLParser):
    """What a page says is wrong: the controls that are marked, by name, and the ids of all sentences."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.described: dict[str, list[str]] = {}
        self.said: set[str] = set()
        self.focused: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("role") == "alert":
            self.said.add(given.get("id") or "")
        if given.get("aria-invalid") == "true":
            self.described[given.get("name")] = (given.get("aria-describedby") or "").split()
        if "autofocus" in given:
            self.focused.append(given.get("name") or given.get("id"))

    @property
    def trouble(self) -> str:
        """What is not as it should be, for a page that refuses."""
        if not self.described:
            return "" if self.focused == ["typed"] else f"nothing is marked, and the focus is at {self.focused}"
        lost = [name for name, ids in self.described.items() if not self.said.intersection(ids)]
        if lost or self.focused not in ([name] for name in self.described):
            return f"without a sentence: {lost}, focus: {self.focused}, marked: {list(self.described)}"
        return ""


ABOVE = {
    "organizers:people status accepted": "nobody is ticked: it is about the whole list",
    "organizers:people status rejected": "the same",
    "organizers:people status banned": "the same",
    "portal:sign-in": "it does not tell which of the two is wrong",
    "portal:delete-account": "the same",
}
"""Forms whose refusal here concerns no single field of theirs, with the reason."""


def test_every_refused_form_comes_back_filled_with_what_is_wrong_at_its_field(client):
    client.raise_request_exception = False
    lost, above, tried = {}, {}, set()
    for name, page in every_page().items():
        client.logout()
        if page.person is not None:
            client.force_login(page.person)
        html = client.get(page.address).content.decode()
        for form in Forms(html).found:
            for button, value in form["buttons"] or [(None, "")]:
                typed = {field: f"{WRONG} {number}" for number, field in enumerate(form["typed"])}
                address = urljoin(page.address, form["action"] or page.address)
                kind = (resolve(urlsplit(address).path).view_name, *typed, button, value if button in ACTS else "")
                if not typed or kind in tried:
                    continue
                tried.add(kind)
                sent = (
                    form["fields"]
                    | typed
                    | dict.fromkeys(form["secrets"], SECRET)
                    | ({button: value} if button else {})
                )
                with transaction.atomic():
                    answer = client.post(address, sent, headers={"Referer": f"http://testserver{page.address}"})
                    words, is_above = fate_of(client, answer, typed)
                    transaction.set_rollback(True)
                place = " ".join(filter(None, (kind[0], button, kind[-1])))
                if words:
                    lost[f"{name}: {place}"] = words
                if is_above:
                    above[place] = is_above
    assert len(tried) > 40
    assert lost == {}
    assert set(above) == set(ABOVE), above


def fate_of(client, answer, typed: dict[str, str]) -> tuple[str, str]:
    """What is wrong with the answer, and what stands above the form.

    Wrong is an error page, a page that Back and Reload would post again, a secret that is kept, or a refusal that lost what was typed or
    does not stand at its field, at once or after Reload.
    """
    is_page = "text/html" in answer.headers.get("Content-Type", "")
    if answer.status_code != 302:
        used = {template.name for template in answer.templates} if is_page else set()
        is_refused = answer.status_code >= 400 or used & {"pages/_fault.html", "pages/_not_taken.html"}
        return (f"{answer.status_code}: no way back", "") if is_refused else ("", "")
    if SECRET in json.dumps(dict(client.session)):
        return "a secret is kept", ""
    address = urlsplit(answer.url)._replace(fragment="").geturl()
    pages = [client.get(address) for _visit in range(2)]
    used = {template.name for template in pages[0].templates}
    if "pages/error.html" in used:
        return f"an error page, {pages[0].status_code}", ""
    if not used & {"pages/_fault.html", "pages/_not_taken.html"} and KEY not in client.session:
        return "", ""
    for visit, page in enumerate(map(markup, pages)):
        gone = [name for name, text in typed.items() if text not in page]
        trouble = Faults(page).trouble if 'role="alert"' in page else ""  # a preview has no fault
        if words := f"visit {visit}: lost {gone}" if gone else trouble:
            return words, ""
    notice = re.search(r'id="typed"[^>]*>(.*?)</div>', markup(pages[1]))
    client.get("/help/")
    if KEY in client.session:
        return "it is still kept after another page", ""
    return "", notice[1] if notice else ""


def test_a_session_that_ended_loses_no_text(client, scene):
    """Signed out in another tab: the text comes back in its own form after signing in, and not for another person's page."""
    scene.pia.set_password("a long enough one")
    scene.pia.save()
    client.force_login(scene.pia)
    client.get(PROFILE)
    client.logout()
    client.cookies["csrftoken"] = "x" * 32
    sent = {"display_name": "Pia of the long text", "country": "DE", "password": "a secret of hers"}
    answer = client.post(PROFILE, sent, headers={"Referer": f"http://testserver{PROFILE}"})
    assert (answer.status_code, answer.url) == (302, SIGN_IN)
    assert "comes back when you have signed in" in markup(client.get(answer.url))
    client.post(answer.url, {"username": "pia", "password": "a long enough one"})
    page = markup(client.get(PROFILE))
    assert ('value="Pia of the long text"' in page, "a secret of hers" in page) == (True, False)
    assert "You were signed out, so nothing was sent" in page
    client.get("/")
    assert "Pia of the long text" not in markup(client.get(PROFILE)), "once"


def test_an_old_form_of_ours_comes_back_filled(scene):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(scene.pia)
    strict.get("/teams/")
    ours = {"Referer": "http://testserver/teams/", "Origin": "http://testserver"}
    answer = strict.post("/teams/", {"name": "A name that took long", "csrfmiddlewaretoken": "x" * 64}, headers=ours)
    assert (answer.status_code, answer.url) == (302, "/teams/")
    page = markup(strict.get("/teams/"))
    assert ('value="A name that took long"' in page, "older than your sign-in" in page) == (True, True)


def test_strangers_have_no_more_kept_than_so_many_forms_an_hour(client, monkeypatch):
    monkeypatch.setattr(typed, "FORMS_OF_STRANGERS", 2)
    client.cookies["csrftoken"] = "x" * 32
    for _ in range(4):
        client.cookies.pop("sessionid", None)
        client.post(PROFILE, {"institution": "INRIA"}, headers={"Referer": f"http://testserver{PROFILE}"})
    assert Session.objects.count() == 2


def test_too_much_text_of_a_stranger_is_not_kept(client):
    client.cookies["csrftoken"] = "x" * 32
    answer = client.post(PROFILE, {"institution": "x" * 100_001}, headers={"Referer": f"http://testserver{PROFILE}"})
    assert answer.url == SIGN_IN
    assert "typed" not in client.session


FORM = (
    '<main><form method="post" action="/a/"><input type="hidden" name="row" value="1"><input name="x" value="old"></form>'
    '<details><form method="post" action="/a/"><input type="hidden" name="row" value="2"><input name="x"><textarea name="y">old\n'
    '</textarea><select name="z"><option selected>1<option value="2">two</select><input type="checkbox" name="c" value="q">'
    '<input type="hidden" name="made_from" value="new"><button name="act" value="go">Go</button></form></details></main>'
)


def test_the_form_that_was_sent_is_the_one_that_is_filled():
    texts = [
        ("row", "2"),
        ("x", '"><b>'),
        ("y", "</textarea>"),
        ("z", "2"),
        ("c", "q"),
        ("made_from", "old"),
        ("act", "go"),
    ]
    page = filled(FORM, page="/p/", form="/a/", texts=texts, faults=[("", "No.")])
    first, second = page.split("<details open>")
    assert ('name="x" value="old"' in first, 'role="alert"' in first) == (True, False)
    assert 'role="alert"' in second
    assert '<input name="x" value="&quot;&gt;&lt;b&gt;">' in second
    assert '<textarea name="y">\n&lt;/textarea&gt;</textarea>' in second
    assert '<option>1<option value="2" selected>two</select>' in second
    assert '<input type="checkbox" name="c" value="q" checked>' in second
    assert '<input type="hidden" name="made_from" value="old">' in second, "another's change in between is noticed"


def test_each_sentence_stands_at_its_field_and_the_first_wrong_field_has_the_focus():
    faults = [
        ("y", "Too long."),
        ("x", "Empty."),
        ("x", "Odd."),
        ("c", "Tick it."),
        ("row", "Hidden."),
        ("gone", "Gone."),
    ]
    page = filled(FORM, page="/p/", form="/a/", texts=[("row", "2")], faults=faults)
    assert '<input name="x" aria-invalid="true" aria-describedby="fault-0" autofocus>' in page
    assert '<small class="bad fault" id="fault-0" role="alert">Empty. Odd.</small>' in " ".join(page.split())
    assert '<textarea name="y" aria-invalid="true" aria-describedby="fault-1">' in page
    assert page.index("</textarea>") < page.index("Too long.") < page.index("<select") < page.index("Tick it.")
    above = page[page.index('id="typed"') : page.index("<form", page.index('id="typed"'))]
    assert ("Hidden." in above, "Gone." in above, "autofocus" in above) == (True, True, False)
    assert page.count("autofocus") == 1


def test_a_sentence_about_the_form_has_the_focus_above_it():
    page = filled(FORM, page="/p/", form="/a/", texts=[], faults=[("", "No.")])
    assert re.search(r'role="alert" id="typed" tabindex="-1" *autofocus', page)


def test_one_of_several_fields_of_one_name_is_named_by_its_number():
    form = '<main><form method="post"><label>A <input name="a"></label><label>B <input name="a"></label></form></main>'
    page = filled(form, page="/p/", form="/p/", texts=[("a", "1"), ("a", "")], faults=[("a#1", "Empty.")])
    assert page.index("</label><label>B") < page.index("aria-invalid") < page.rindex("</label>") < page.index("Empty.")
    assert 'name="a" value="1">' in page


@pytest.mark.parametrize(
    ("kind", "typed", "shown_as"),
    [
        ("date", "next week", "text"),
        ("date", "2026-02-31", "text"),
        ("date", "2026-02-28", "date"),
        ("datetime-local", "noon", "text"),
        ("datetime-local", "2026-02-28T12:00", "datetime-local"),
        ("number", "three", "text"),
        ("number", "nan", "text"),
        ("number", "-3.5", "number"),
        ("email", "no address", "email"),
    ],
)
def test_what_a_field_would_not_show_stands_in_a_text_field(kind, typed, shown_as):
    """A browser leaves a field for a date or a number empty where the text is none."""
    form = f'<main><form method="post"><input type="{kind}" name="a"></form></main>'
    page = filled(form, page="/p/", form="/p/", texts=[("a", typed)], faults=[("a", "No.")])
    assert re.search(rf'<input type="{shown_as}" name="a"[^>]* value="{typed}"', page), page


def test_a_row_that_shares_a_value_is_not_the_form_that_was_sent():
    row = '<form method="post"><input type="hidden" name="p" value="1"><input type="hidden" name="x" value="a"></form>'
    new = '<form method="post"><input name="x"><input name="y"><select name="p"><option>1</select></form>'
    page = filled(
        f"<main>{row}{new}</main>",
        page="/p/",
        form="/p/",
        texts=[("x", "b"), ("y", "c"), ("p", "1")],
        faults=[("", "No.")],
    )
    assert '<input name="x" value="b"><input name="y" value="c">' in page


def test_what_was_typed_into_a_form_that_is_gone_can_be_copied():
    page = filled(
        "<main><p>closed</p></main>", page="/p/", form="/a/", texts=[("x", "<long text>")], faults=[("", "No.")]
    )
    assert page.index('role="alert"') < page.index("&lt;long text&gt;") < page.index("closed")


@pytest.mark.parametrize("cut", range(0, len(FORM), 37))
def test_a_page_that_is_cut_anywhere_is_no_error(cut):
    assert "No." in filled(FORM[:cut], page="/p/", form="/a/", texts=[("x", "y")], faults=[("", "No.")])
