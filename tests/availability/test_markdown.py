"""Organizers' texts: rendered once, in time that grows with their length, into no more than a page can show."""

import gc
import time
from contextlib import suppress
from importlib import import_module

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse

import factories
from assay.accounts.errors import InvalidError
from assay.challenges.definition import parse_definition
from assay.challenges.models import Challenge
from assay.challenges.texts import LONGEST_HTML, LONGEST_TEXT, render_markdown, render_old_text

pytestmark = pytest.mark.slow

HOSTILE = {
    "open brackets": lambda n: "[" * n,
    "open images": lambda n: "![" * (n // 2),
    "open links": lambda n: "[a](" * (n // 4),
    "link after link": lambda n: "[" * (n // 3) + "](" * (n // 3),
    "references": lambda n: "[a][" * (n // 4),
    "footnotes": lambda n: "[^" * (n // 2),
    "nested brackets": lambda n: "[" * (n // 2) + "]" * (n // 2),
    "nested links": lambda n: "[" * (n // 8) + "a" + "](b)" * (n // 8),
    "titles": lambda n: '[a](b "' * (n // 7),
    "quotes": lambda n: ">" * n,
    "quotes in steps": lambda n: "\n".join(">" * k for k in range(int((2 * n) ** 0.5))),
    "lazy quotes": lambda n: (">" * 60 + "a\n") * (n // 62),
    "lists": lambda n: "- " * (n // 2) + "a",
    "lists in steps": lambda n: "\n".join(" " * (2 * k) + "* a" for k in range(int(n**0.5))),
    "numbered": lambda n: "1. " * (n // 3),
    "stars": lambda n: "*" * n,
    "emphasis opened": lambda n: "*a " * (n // 3),
    "emphasis mixed": lambda n: "*_" * (n // 2),
    "emphasis crossed": lambda n: "*a _b " * (n // 6),
    "emphasis three": lambda n: "a**b" + "c* " * (n // 3),
    "code": lambda n: "".join("`" * k + " " for k in range(int((2 * n) ** 0.5))),
    "code halves": lambda n: "`a``b" * (n // 5),
    "fences": lambda n: "```\n" * (n // 4),
    "wide table": lambda n: "|" * (n // 2) + "\n" + "|-" * (n // 4) + "\n",
    "tall table": lambda n: "a|b\n-|-\n" + "|\n" * (n // 2),
    "no table": lambda n: "a|b\n" * (n // 4),
    "headings": lambda n: "a\n=\n" * (n // 4),
    "less": lambda n: "<" * n,
    "tags": lambda n: "<a " * (n // 3),
    "comments": lambda n: "<!--" * (n // 4),
    "comments inside": lambda n: "a <!-- " * (n // 7),
    "cdata": lambda n: "<![CDATA[" * (n // 9),
    "blocks": lambda n: "<div>\n" * (n // 6),
    "bold paragraphs": lambda n: "".join(f"<b id={k}>" for k in range(n // 20)) + "<p>x</p>" * (n // 16),
    "ampersands": lambda n: "&" * n,
    "backslashes": lambda n: "\\" * n,
    "spaces": lambda n: "a" + " " * n + "b",
    "lines": lambda n: "\n" * n,
    "addresses": lambda n: "http://a" * (n // 8),
    "definitions": lambda n: "[a]: b\n" * (n // 7),
}


def seconds_for(text, *, rounds=3):
    """Return the processor time of the fastest round: the collector walks whatever the other tests keep alive."""
    fastest = float("inf")
    gc.disable()
    try:
        for _ in range(rounds):
            began = time.thread_time()
            with suppress(InvalidError):
                render_markdown(text)
            fastest = min(fastest, time.thread_time() - began)
    finally:
        gc.enable()
    return fastest


@pytest.mark.parametrize("name", HOSTILE)
def test_four_times_the_text_takes_about_four_times_as_long(name):
    small, large = HOSTILE[name](LONGEST_TEXT // 4), HOSTILE[name](LONGEST_TEXT)
    allowed = 0.05 + 10 * seconds_for(small)  # a quadratic renderer takes sixteen times as long
    assert any(seconds_for(large, rounds=1) < allowed for _ in range(3))


def test_a_long_reference_used_often_is_refused_before_it_is_multiplied():
    text = "[x]: " + "a" * (LONGEST_TEXT // 2) + "\n\n" + "[x]" * (LONGEST_TEXT // 6)
    with pytest.raises(InvalidError) as refused:
        render_markdown(text)
    assert "too long" in refused.value.message


def test_a_table_that_is_filled_up_to_its_width_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("assay.challenges.texts.MarkdownIt", None)
    text = "|a" * 2000 + "\n" + "|-" * 2000 + "\n" + "|b\n" * 8000
    with pytest.raises(InvalidError) as refused:
        render_markdown(text)
    assert refused.value.found == "16012002 cells"


def test_long_texts_with_tables_of_usual_size_are_rendered():
    table = "| case | dice | nsd | hd95 |\n|---|---|---|---|\n" + "| a | 0.91 | 0.88 | 3.2 |\n" * 300
    assert render_markdown(f"{table}\n\nWords.\n\n{table}").count("<table>") == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_what_comes_out_is_no_more_than_a_page_can_show(name):
    length = 0
    with suppress(InvalidError):
        length = len(render_markdown(HOSTILE[name](LONGEST_TEXT)))
    assert length <= 2 * LONGEST_HTML


@pytest.mark.parametrize("key", ["description", "rules"])
def test_a_file_with_a_longer_text_is_refused_with_its_line(key):
    text = "a" * (LONGEST_TEXT + 1)
    with pytest.raises(InvalidError) as refused:
        parse_definition(f"slug: a\ntitle: A\n{key}: {text}\nprotocol: {{use: flare22}}\n{PHASES}")
    assert (refused.value.line, f"{LONGEST_TEXT + 1} characters" in refused.value.found) == (3, True)


PHASES = "phases: [{slug: final, opens_at: 2026-11-01, closes_at: 2027-01-01}]"


@pytest.mark.django_db
def test_a_page_shows_what_was_rendered_when_it_was_pushed(scene, client, monkeypatch):
    client.force_login(scene.olga)
    source = f"slug: new\ntitle: New\ndescription: |\n  Some **bold** words\nprotocol: {{use: flare22}}\n{PHASES}"
    body = {"source": source}
    assert client.put("/api/v1/challenges/new", body, content_type="application/json").status_code == 200
    monkeypatch.setattr("assay.challenges.texts.MarkdownIt", None)  # a page that renders would fail
    assert "<strong>bold</strong>" in client.get(reverse("portal:challenge", args=["new"])).content.decode()


@pytest.mark.django_db
def test_a_text_that_was_there_before_is_rendered_by_the_migration(scene):
    migration = import_module("assay.challenges.migrations.0004_rendered_texts")
    Challenge.objects.filter(pk=scene.challenge.pk).update(description="*old*", rules="<b>" * LONGEST_TEXT)
    migration.render(apps, None)
    scene.challenge.refresh_from_db()
    assert scene.challenge.description_html == "<p><em>old</em></p>\n"
    assert scene.challenge.rules_html.startswith("<pre>&lt;b&gt;")


def test_a_text_that_was_too_long_before_is_shown_as_it_was_written():
    assert render_old_text("a<" * LONGEST_TEXT) == f"<pre>{'a&lt;' * LONGEST_TEXT}</pre>"


@pytest.mark.django_db
def test_an_old_challenge_keeps_its_page(scene):
    factories.challenge(slug="plain", organizer=scene.olga, description="words")
    assert b"<p>words</p>" in Client().get(reverse("portal:challenge", args=["plain"])).content
