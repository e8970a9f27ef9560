"""The catalogues of translations hold what the sources say, without gettext being installed: what is read here is only Python.

After a change of marked sentences: `make messages` (gettext from apt), and commit both files.
"""

import ast
import gettext
import re
import string
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po
from django.conf import settings
from django.utils.translation.template import templatize

from assay.accounts import errors
from assay.pages.context import SCRIPT_WORDS
from assay.portal.facts import SITUATION_WORDS
from evaluator.protocol import SITUATIONS

PLATFORM = Path(__file__).resolve().parents[2] / "platform" / "assay"
CALLS = {
    "_": 1, "noop": 1, "gettext": 1, "gettext_lazy": 1, "gettext_noop": 1, "ngettext": 2, "ngettext_lazy": 2,
    "pgettext": 2, "pgettext_lazy": 2, "npgettext": 3, "npgettext_lazy": 3,
}  # fmt: skip
PRINTF = re.compile(r"%\(\w+\)[a-z]|%%")
PROGRAMS = {"pre", "code", "script", "style"}
SPOKEN = {"aria-label", "title", "placeholder", "alt"}
LETTERS = re.compile(r"[A-Za-z]{2}")
TEMPLATE_TAGS = re.compile(r"\{% blocktranslate.*?endblocktranslate %\}|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
SAME_IN_EVERY_LANGUAGE = re.compile(
    r"Assay|API|CSV|JSON|ORCID iD|mm|sha256|challenge\.yaml|tar, \.tar\.gz|manifest\.csv|my laptop|st-mary|St Mary's Hospital"
)
REFUSALS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.AssayError)
} | {
    "ChecksumMismatchError",
    "UploadLockedError",
}
CATALOGUES = sorted(settings.LOCALE_PATHS[0].glob("*/LC_MESSAGES/django.po"))


def texts_of(call: ast.Call) -> tuple[str, ...] | None:
    """The literal sentences of a call that marks them: (context, singular, plural) as far as there are."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name not in CALLS:
        return None
    values = [node.value for node in call.args[: CALLS[name]] if isinstance(node, ast.Constant)]
    return tuple(values) if len(values) == CALLS[name] and all(isinstance(value, str) for value in values) else None


def sentences_of_python(source: str) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            texts = texts_of(node)
            if texts is not None:
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                yield texts[1:] if name.lstrip("n").startswith("pgettext") else texts


def sentences_of_template(source: str) -> Iterator[tuple[str, ...]]:
    """Django makes calls out of the tags and blots out the rest; each call is cut out at the bracket that ends it."""
    made = templatize(source)
    for start in re.finditer(r"(?<![\w.])(_|n?p?gettext)\((?=u?['\"])", made):
        for end in re.finditer(r"\)", made[start.start() :]):
            try:
                ast.parse(made[start.start() : start.start() + end.end()], mode="eval")
            except SyntaxError:
                continue
            yield from sentences_of_python(made[start.start() : start.start() + end.end()])
            break


def sentences() -> set[tuple[str, ...]]:
    """Every marked sentence of the platform: (singular,) or (singular, plural)."""
    found: set[tuple[str, ...]] = set()
    for path in [*PLATFORM.rglob("*.py"), *PLATFORM.rglob("*.html"), *PLATFORM.rglob("*.txt")]:
        if path.relative_to(PLATFORM).parts[0] not in ("client", "node"):
            read = sentences_of_python if path.suffix == ".py" else sentences_of_template
            found |= set(read(path.read_text()))
    return found


def test_the_readers_find_every_way_of_marking():
    python = '_("a")\nngettext("b", "c", 1)\npgettext("where", "d")\n_(variable)\nother("e")\nx.gettext_lazy("f" "g")'
    assert set(sentences_of_python(python)) == {("a",), ("b", "c"), ("d",), ("fg",)}
    template = (
        '{% load i18n %}<p title="{% translate "a" %}">{% blocktranslate %}b {{ x }} (c){% endblocktranslate %}'
        "{% blocktranslate count n=n %}d{% plural %}e{% endblocktranslate %}{{ _('f')|upper }}</p>"
    )
    assert set(sentences_of_template(template)) == {("a",), ("b %(x)s (c)",), ("d", "e"), ("f",)}


class UnmarkedText(HTMLParser):
    """Words of a template that no tag marks, outside of programs. Template tags were blotted out before."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.programs = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.programs += tag in PROGRAMS
        self.found += [value for name, value in attrs if name in SPOKEN and value and LETTERS.search(value)]

    def handle_endtag(self, tag: str) -> None:
        self.programs -= tag in PROGRAMS

    def handle_data(self, data: str) -> None:
        if not self.programs and LETTERS.search(data):
            self.found.append(" ".join(data.split()))


def unmarked(source: str) -> list[str]:
    reader = UnmarkedText()
    reader.feed(TEMPLATE_TAGS.sub(" ", source))
    reader.close()
    return [text for text in reader.found if not SAME_IN_EVERY_LANGUAGE.fullmatch(text.strip(" ·:().,#<>–"))]


def test_every_sentence_of_a_template_is_marked():
    assert unmarked('<p title="Two">{% translate "a" %} One <code>no</code><b>{{ x }}</b>{# none #}</p>') == [
        "Two",
        "One",
    ]
    pages = [path for path in PLATFORM.rglob("*.html") if path.name != "reference.html"]  # the API's, in English
    assert len(pages) > 50
    assert {path.name: found for path in pages if (found := unmarked(path.read_text()))} == {}


def test_what_the_script_says_is_marked():
    folder = PLATFORM / "pages" / "static" / "pages"
    said = {words for path in folder.glob("*.js") for words in re.findall(r'\bsay\("([^"]+)"', path.read_text())}
    assert len(said) > 10
    assert said == set(SCRIPT_WORDS)


def test_the_words_of_the_evaluator_for_situations_are_marked():
    assert set(SITUATION_WORDS) == set(SITUATIONS.values())


def unmarked_messages(source: str) -> list[str]:
    """What errors and notices say to people in plain literals, as far as it can be seen where they are made."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        owner = getattr(getattr(node.func, "value", None), "id", "")
        if owner == "messages" and name in ("success", "error", "warning", "info"):
            said = node.args[1:2]
        elif name in REFUSALS:
            said = [*node.args[:1], *(word.value for word in node.keywords if word.arg in ("message", "what_to_do"))]
        elif name in ("clean_line", "clean_name"):  # `what` begins the sentence of a refusal
            said = [word.value for word in node.keywords if word.arg == "what"]
        else:
            continue
        said = [leaf for text in said for leaf in ([text.body, text.orelse] if isinstance(text, ast.IfExp) else [text])]
        found += [
            ast.unparse(text) for text in said if isinstance(text, ast.Constant | ast.JoinedStr) and text is not None
        ]
    return [text for text in found if " " in text and LETTERS.search(text)]


def test_every_message_of_a_refusal_or_a_notice_is_marked():
    assert unmarked_messages('raise InvalidError("No such file.", found=x, what_to_do=f"Send {y} again.")') == [
        "'No such file.'",
        "f'Send {y} again.'",
    ]
    assert unmarked_messages('raise InvalidError(_("No such file."), code="x y")') == []
    assert unmarked_messages('messages.success(request, "All is well.")') == ["'All is well.'"]
    assert unmarked_messages('clean_line(text, what="The signature", longest=9)') == ["'The signature'"]
    server = [path for path in PLATFORM.rglob("*.py") if path.relative_to(PLATFORM).parts[0] not in ("client", "node")]
    assert len(server) > 150
    assert {str(path): found for path in server if (found := unmarked_messages(path.read_text()))} == {}


def test_every_language_offered_has_a_catalogue():
    offered = {code for code, _ in settings.LANGUAGES} - {settings.LANGUAGE_CODE}
    assert {path.parts[-3] for path in CATALOGUES} == offered


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_the_catalogue_holds_exactly_the_marked_sentences(path):
    with path.open("rb") as file:
        entries = [message for message in read_po(file) if message.id]
    held = {message.id if isinstance(message.id, tuple) else (message.id,) for message in entries}
    marked = sentences()
    singles = {texts[:1] for texts in marked}
    assert {texts for texts in marked if texts not in held and not any(texts == one[:1] for one in held)} == set(), (
        "run `make messages`"
    )
    assert {texts for texts in held if texts[:1] not in singles} == set(), "run `make messages`"
    assert [message.id for message in entries if message.fuzzy] == []


def fields(text: str) -> set[str]:
    """The parameters of a sentence, of either kind of template."""
    braces: set[str] = set()
    if not PRINTF.search(text):
        braces = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    return braces | set(re.findall(r"%\((\w+)\)", text))


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_a_translation_uses_the_parameters_of_its_sentence(path):
    """A missing or invented one would break a page in one language only."""
    with path.open("rb") as file:
        entries = [message for message in read_po(file) if message.id]
    wrong = []
    for message in entries:
        originals = message.id if isinstance(message.id, tuple) else (message.id,)
        translations = message.string if isinstance(message.string, tuple) else (message.string,)
        expected = set().union(*(fields(text) for text in originals))
        wrong += [text for text in translations if text and fields(text) - expected]
        wrong += [text for text in translations[-1:] if text and fields(text) != expected]
    assert wrong == []


def key_of(message: Message) -> str:
    """How gettext looks a sentence up: its singular, behind its context where there is one."""
    singular = message.id[0] if isinstance(message.id, tuple) else message.id
    return f"{message.context}\x04{singular}" if message.context else singular


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_the_compiled_catalogue_is_the_written_one(path):
    with path.open("rb") as file:
        written = {
            key_of(message): message.string
            for message in read_po(file)
            if message.id and any(message.string if isinstance(message.string, tuple) else [message.string])
        }
    with path.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog
    plural = {key[0] for key in compiled if isinstance(key, tuple)}
    assert {key for key in compiled if isinstance(key, str) and key} | plural == set(written), "run `make messages`"
    for key, text in written.items():
        if isinstance(text, tuple):
            assert [compiled[key, index] for index in range(len(text))] == list(text), "run `make messages`"
        else:
            assert compiled[key] == text, "run `make messages`"


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_every_sentence_is_translated(path):
    """All that every room says: to participants, organizers, operators and programs."""
    with path.open("rb") as file:
        entries = [message for message in read_po(file) if message.id]
    assert len(entries) > 2000
    missing = [
        message.id
        for message in entries
        if not all(message.string if isinstance(message.string, tuple) else [message.string])
    ]
    assert missing == [], "translate them in the .po, then run `make messages`"
