"""Single values changed in the text of a challenge file: what was asked for changes, and nothing else does."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import factories
from assay.accounts.errors import InvalidError
from assay.challenges.definition import parse_definition
from assay.challenges.editing import appended, edited, fingerprint, key_at
from evaluator.documents import read_document

BLOCK = f"""\
# Ask Olga first.
slug: lungs
title: Lungs   # both
description: |
  Two lines
  of words.
organizers:   # in order
  - olga
protocol: {factories.PROTOCOL_TEXT}
phases:
  - slug: warm-up      # small
    opens_at: 2026-01-01
    closes_at: 2026-11-28
  # the one that counts
  - {{slug: final, opens_at: 2026-12-01, closes_at: 2027-01-01, submission_limit: 3}}
# the end
"""
FLOW = BLOCK[: BLOCK.index("phases:")] + "phases: [{slug: final, opens_at: 2026-12-01, closes_at: 2027-01-01}]\n"
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), max_size=60)
VALUES = st.one_of(TEXTS, st.integers(-5, 99), st.booleans(), st.lists(TEXTS, max_size=3))
PATHS = st.sampled_from(
    [
        *(("title",), ("description",), ("summary",), ("organizers",), ("phases", 0, "slug"), ("phases", 0, "title")),
        *(
            ("phases", 0, "closes_at"),
            ("phases", 0, "pool"),
            ("protocol", "release"),
            ("protocol", "ranking", "scheme"),
        ),
        *(("phases", 1, "submission_limit"), ("phases", 1, "title"), ("protocol", "labels", "core", "tolerance_mm")),
    ]
)


def comments(text: str) -> list[str]:
    return re.findall(r"# (?:Ask|both|in order|small|the one|the end).*", text)


def put(value, path, new):
    """The same change to plain values."""
    if not path:
        return None if new == "" else new
    step, *rest = path
    if isinstance(step, int):
        return [put(item, rest, new) if at == step else item for at, item in enumerate(value)]
    return {**(value or {}), step: put((value or {}).get(step), rest, new)}


@settings(max_examples=150, deadline=None)
@example([(("title",), "\n0")])
@given(st.lists(st.tuples(PATHS, VALUES), max_size=5))
def test_exactly_what_is_asked_for_changes_and_no_comment_is_lost(edits):
    text, expected = BLOCK, read_document(BLOCK).value
    for path, value in edits:
        text, expected = edited(text, {path: value}), put(expected, path, value)
        assert read_document(text).value == expected
    assert comments(text) == comments(BLOCK)


def test_nothing_asked_for_changes_nothing():
    assert edited(BLOCK, {}) == BLOCK


def test_a_text_of_several_lines_stays_readable():
    text = edited(BLOCK, {("description",): "One\n\nTwo: yes # no", ("rules",): "a\nb"})
    assert "description: |-\n  One\n\n  Two: yes # no\n" in text
    assert "rules: |-\n  a\n  b\n" in text
    assert parse_definition(text).description == "One\n\nTwo: yes # no"


@pytest.mark.parametrize("source", [BLOCK, FLOW, BLOCK.removesuffix("# the end\n")])
def test_a_phase_is_added_at_the_end(source):
    text = appended(source, ("phases",), {"slug": "extra", "opens_at": "2026-01-01", "closes_at": "2026-02-01"})
    before, after = parse_definition(source).phases, parse_definition(text).phases
    assert after[:-1] == before
    assert (after[-1].slug, after[-1].closes_at.month) == ("extra", 2)
    assert comments(text) == comments(source)


def test_the_key_at_a_place_is_found_for_an_error():
    text = edited(BLOCK, {("phases", 0, "closes_at"): "soon"})
    with pytest.raises(InvalidError) as refusal:
        parse_definition(text)
    error = refusal.value
    assert key_at(text, line=error.line, column=error.column) == ("phases", 0, "closes_at")


def test_a_fingerprint_tells_two_texts_apart():
    assert fingerprint(BLOCK) == fingerprint(BLOCK)
    assert fingerprint(BLOCK) != fingerprint(FLOW)


@pytest.mark.parametrize("path", [("metrics",), ("phases", 0, "divisions"), ("phases",)])
def test_a_list_whose_dashes_stand_below_their_key_is_replaced(path):
    """As `yaml.safe_dump` writes it, and with it the form that makes a first challenge file."""
    text = "metrics:\n- name: dice\n- name: nsd\nphases:\n- slug: main\n  divisions:\n  - open\n  - closed\n  title: Main\n"
    before = read_document(text).value
    found = read_document(edited(text, {path: [{"name": "hd95"}]})).value
    assert found == put(before, path, [{"name": "hd95"}])
