"""Pages speak the language that the reader chose, or the one that the browser asks for."""

import pytest
from django.template import Context, Template
from django.urls import reverse
from django.utils import translation

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("asked", "language", "sentence"),
    [
        ("de-AT,de;q=0.9,en;q=0.5", "de", "Diese Seite gibt es nicht."),
        ("en-US,en;q=0.9", "en-gb", "There is no such page."),
        ("xx", "en-gb", "There is no such page."),
        ("", "en-gb", "There is no such page."),
    ],
)
def test_a_page_answers_in_the_language_the_browser_asks_for(client, asked, language, sentence):
    answer = client.get("/nowhere/", headers={"Accept-Language": asked})
    assert answer.headers["Content-Language"] == language
    assert f'<html lang="{language}"' in answer.content.decode()
    assert sentence in answer.content.decode()
    assert "Accept-Language" in answer.headers["Vary"]


def test_a_chosen_language_wins_over_the_browser_and_stays(client):
    answer = client.post(reverse("portal:language"), {"language": "de", "next": "/help/"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/help/")
    again = client.get("/nowhere/", headers={"Accept-Language": "en"})
    assert "Diese Seite gibt es nicht." in again.content.decode()


def test_the_switch_leads_to_no_other_site_and_takes_no_unknown_language(client):
    answer = client.post(reverse("portal:language"), {"language": "xx", "next": "https://evil.example/"})
    assert answer.headers["Location"] == "/"
    assert not answer.cookies


@pytest.mark.parametrize("language", ["en-gb", "de"])
def test_numbers_have_a_decimal_point_in_every_language(language):
    """They are coordinates of pictures and attributes that scripts read, too."""
    with translation.override(language):
        written = Template('{{ x }} <svg x="{{ x|floatformat:3 }}">').render(Context({"x": 1234.5}))
    assert written == '1234.5 <svg x="1234.500">'
