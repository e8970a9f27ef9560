"""A button that cannot be undone takes two clicks: `{% confirm %}` says first what follows from the second.

Every button of every form that posts stands in one of three ways: folded, in a form that asks for something typed, or below with the
reason why one click is enough. A new button that stands in none of them fails here.
"""

import re
from pathlib import Path

APPS = Path(__file__).resolve().parents[2] / "platform" / "assay"
TAGS = re.compile(
    r"{%\s*(?P<block>confirm|endconfirm)\b|<(?P<end>/?)(?P<tag>form|details|button|input|textarea|select)\b(?P<rest>[^>]*)>"
)
ONE_CLICK = {
    "the other button of its pair undoes it": (
        *(
            "Put under embargo",
            "Take the release back",
            "Pause submissions",
            "Resume submissions",
            "Drain",
            "Quarantine",
        ),
        *(
            "Resume",
            "Done",
            "Not done",
            "Reinstate it",
            "Show on the board",
            "Hide from the board",
            "Let it hold again",
        ),
        *("Give the attempt back", "Count the attempt", "Take the flag off", "Pin it", "Do not pin it", "Close it"),
        *("Open it again", "Bring it back", "No administrator", "Administrator", "Close", "Open", "Connect", "End"),
        *("Let it stand for us", "Take it back", "Take it up again", "Flag", "Accept", "Reject", "Ban"),
    ),
    "only what the reader of the page sees changes": ("Sign out", "☾", "☀", "◐", "{{ name }}", "Mark all as read"),
    "it makes a file or a copy": ("Download the zip", "Download everything we keep about you"),
    "it does again what failed or was done, and takes nothing away": (
        *("Score again", "Run the self-test", "Send again", "Try again", "Add the usual tasks", "Password link"),
        "Take the submission up again",
    ),
    "it can be asked for again": ("Refuse", "Take back"),
    "what follows stands on the page that this button ends": ("{{ button }}", "Yes, confirm", "End these mails"),
    "it goes on to a page that asks": ("Go on", "Sign in with {{ provider }}"),
    "what it concerns was typed or chosen, and the next page or person asks": (
        *("{{ asked.button }}", "{{ act.button }}", "Check", "Apply", "Submit", "Choose a folder"),
        "Approve",
    ),
    "operators are told on the page what each button does, and no work is lost": ("{{ words }}",),
}
REASONS = {words: reason for reason, buttons in ONE_CLICK.items() for words in buttons}


def buttons_of(text: str) -> dict[str, bool]:
    """Words of each button of forms that post, and whether one click is all it takes."""
    found: dict[str, bool] = {}
    depth, posts, asks, of_form = 0, False, False, list[str]()
    for tag in TAGS.finditer(text):
        match tag["block"], tag["tag"], tag["end"]:
            case ("confirm", _, _) | (_, "details", ""):
                depth += 1
            case ("endconfirm", _, _) | (_, "details", "/"):
                depth -= 1
            case _, "form", "":
                posts, asks, of_form = 'method="post"' in tag["rest"], False, []
            case _, "form", "/":
                found |= {words: not asks for words in of_form if not found.get(words)}
                posts = False
            case _, "input" | "textarea" | "select", "":
                asks |= "required" in tag["rest"] or tag["tag"] == "select"
            case _, "button", "" if posts and not depth:
                of_form += words_of(text[tag.end() : text.index("</button>", tag.end())])
    return found


def words_of(inside: str) -> list[str]:
    """What may stand on a button: each sentence of its template, or the variable it shows."""
    plain = " ".join(inside.split())
    sentences = re.findall(r"""{% translate ["'](.*?)["'] %}""", plain)
    sentences += re.findall(r"{% blocktranslate[^%]*%} ?(.*?) ?{% (?:plural|endblocktranslate)", plain)
    return sentences or [plain]


def test_every_button_that_cannot_be_undone_is_folded():
    alone = {
        f"{path.relative_to(APPS)}: {words}"
        for path in APPS.rglob("templates/**/*.html")
        for words, is_alone in buttons_of(path.read_text()).items()
        if is_alone and words not in REASONS
    }
    assert alone == set(), "fold each with {% confirm %}, or say in ONE_CLICK why one click is enough"


def test_every_reason_is_of_a_button_that_exists():
    shown = {words for path in APPS.rglob("templates/**/*.html") for words in buttons_of(path.read_text())}
    assert set(REASONS) - shown == set()


def test_a_button_is_found_whichever_way_it_stands():
    form = '<form method="post">{}<button>{{% translate "Burn" %}}</button></form>'
    assert buttons_of(form.format("")) == {"Burn": True}
    assert buttons_of("{% confirm 1 2 %}" + form.format("") + "{% endconfirm %}") == {}
    assert buttons_of("<details>" + form.format("") + "</details>") == {}
    assert buttons_of(form.format("<input required>")) == {"Burn": False}
    assert buttons_of(form.format("<input>")) == {"Burn": True}
    assert buttons_of(form.format("") + form.format("<input required>")) == {"Burn": True}
