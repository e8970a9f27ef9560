"""Pictures: escaped, named for people who do not see them."""

from xml.etree import ElementTree as ET

from assay.pages import svg
from assay.portal.plots import Level, Point, agreement_plot, scatter_plot, track

HOSTILE = '"><script>alert(1)</script>'
POINTS = [
    Point(x=10.0, y=90.0, tone="a", words=HOSTILE),
    Point(x=40.126, y=20.0, tone="b", words="case_2: 0.4 and 0.8"),
]


def parsed(picture):
    root = ET.fromstring(picture)
    assert all(node.tag in {"svg", "rect", "line", "circle", "text", "title"} for node in root.iter())
    return root


def test_texts_and_values_are_escaped_and_nothing_else_is():
    written = svg.element("text", HOSTILE, svg.element("title", "a & b"), class_=HOSTILE, text_anchor=None)
    root = ET.fromstring(written)
    assert root.text == root.get("class") == HOSTILE
    assert [child.text for child in root] == ["a & b"]
    assert set(root.attrib) == {"class"}


def test_a_scatter_plot_says_what_it_shows_and_names_each_case():
    root = parsed(scatter_plot(words="B against A", points=POINTS, ends=(0.25, 1), axes=(HOSTILE, "B")))
    assert (root.get("role"), root.get("aria-label")) == ("img", "B against A")
    dots = root.findall("circle")
    assert [dot.findtext("title") for dot in dots] == [HOSTILE, "case_2: 0.4 and 0.8"]
    assert [(dot.get("cx"), dot.get("class")) for dot in dots] == [("10", "a"), ("40.126", "b")]
    assert [text.text for text in root.findall("text")] == ["0.250", "1.000", HOSTILE, "B"]


def test_lines_of_agreement_carry_their_values_but_for_the_line_of_no_difference():
    levels = [Level(y=50.0, value=0.0, tone="even"), Level(y=20.0, value=-0.125, tone="limit")]
    root = parsed(agreement_plot(words="B − A", points=POINTS, levels=levels, ends=(0, 1), axes=("mean", "B − A")))
    assert [line.get("class") for line in root.findall("line")] == ["even", "limit"]
    assert root.findall("text")[0].text == "−0.125"


def test_a_track_is_skipped_by_screen_readers_since_the_values_stand_beside_it():
    root = parsed(track(POINTS))
    assert root.get("aria-hidden") == "true"
    assert (root.find("line").get("x1"), root.find("line").get("x2")) == ("10%", "40.126%")
    assert parsed(track([])).findall("circle") == []
