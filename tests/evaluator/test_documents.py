"""The reader of YAML documents against texts that are wrong on purpose."""

import time

import pytest
from click.testing import CliRunner

from assay.accounts.errors import InvalidError
from assay.challenges.definition import parse_definition
from evaluator import documents
from evaluator.commands.rank import rank
from evaluator.documents import DocumentError, read_document, shown
from evaluator.errors import ProtocolError
from evaluator.protocol import load_protocol

BOMB = (
    "a0: &a0 ["
    + "x," * 9
    + "x]\n"
    + "".join(f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * 10) + "]\n" for n in range(1, 9))
)
HOSTILE = {
    "aliases of aliases": (BOMB, "unfolds without end"),
    "a long text many times": ("a: &a " + "x" * 100_000 + "\nb: [" + "*a," * 20 + "]", "unfolds without end"),
    "an alias within itself": ("a: &a [*a]", "within itself"),
    "an alias of nothing": ("a: *b", "undefined alias|of nothing"),
    "nesting": ("a: " + "[" * 5000, "deeper nesting"),
    "nesting by aliases": (
        "a0: &a0 []\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 70)), "deeper nesting by aliases"
    ),
    "a flat list of 1 MiB": ("a: [" + "1," * 500_000 + "]", "unfolds without end"),
    "a flat mapping of 1 MiB": ("".join(f"k{n}: 1\n" for n in range(90_000)), "unfolds without end"),
    "a key that is a list": ("[a, b]: 1", "a key that is a list"),
    "a key that is a mapping": ("? {a: b}\n: 1", "a key that is a list or a mapping"),
    "a key that is an alias": ("a: &a x\n*a : 1", "a key that is an alias"),
    "a key twice": ("a: 1\nb: 2\na: 3", "the key 'a' again"),
    "a key twice, deep": ("a: [{b: {c: 1, c: 2}}]", "the key 'c' again"),
    "a merge key": ("a: &a {b: 1}\nc: {<<: *a}", "a merge key"),
    "a tag": ("a: !!python/object/apply:os.system [ls]", "the tag"),
    "a tag on a scalar": ("a: !secret x", "the tag"),
    "infinity": ("a: .inf", "'.inf'"),
    "a number of a million digits": ("a: " + "9" * 1_000_000, "999..."),
    "a hexadecimal number of a million digits": ("a: 0x" + "f" * 1_000_000, "0xfff"),
    "two documents": ("a: 1\n---\nb: 2", "second document"),
    "a list": ("- a", "no mapping"),
    "nothing": ("", "no mapping"),
    "control characters": ("a: \x01", "."),
    "half a surrogate pair": ("a: \ud800", "UTF-8"),
    "a text of more than 1 MiB": ("a: " + "x" * (1 << 20), "characters"),
    "an open bracket": ("a: [1", "did not find|expected"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_refused_soon_and_in_few_words(name):
    text, found = HOSTILE[name]
    start = time.process_time()
    with pytest.raises(DocumentError, match=found) as refusal:
        read_document(text)
    assert time.process_time() - start < 10
    assert len(str(refusal.value)) < 400


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_all_three_kinds_of_documents_refuse_it(name, tmp_path):
    text, _ = HOSTILE[name]
    with pytest.raises(InvalidError) as refusal:
        parse_definition(text)
    assert len(str(refusal.value)) + len(refusal.value.found) < 800
    with pytest.raises(ProtocolError):
        load_protocol(text)
    if "\ud800" in text:
        return  # no file holds it
    scores, config = tmp_path / "scores.csv", tmp_path / "ranking.yaml"
    scores.write_text("algorithm,case,metric,value\na,1,dice,0.5\nb,1,dice,0.6\n")
    config.write_text(text)
    answer = CliRunner().invoke(rank, [str(scores), "--config", str(config)])
    assert answer.exit_code != 0
    assert "ranking.yaml: " in answer.output
    assert "Traceback" not in answer.output
    assert len(answer.output) < 1000


def test_a_ranking_file_with_two_schemes_is_refused(tmp_path):
    """Once, the second was taken silently."""
    scores, config = tmp_path / "scores.csv", tmp_path / "ranking.yaml"
    scores.write_text("algorithm,case,metric,value\na,1,dice,0.5\nb,1,dice,0.6\n")
    config.write_text("scheme: {type: mean_of_ranks}\nscheme: {type: median_of_ranks}\n")
    answer = CliRunner().invoke(rank, [str(scores), "--config", str(config)])
    assert answer.exit_code != 0
    assert "line 2, column 1" in answer.output
    assert "the key 'scheme' again" in answer.output


def test_a_small_bomb_in_a_challenge_gets_a_small_answer():
    """428 bytes once made an answer of 58 MB: the value was written out before it was cut."""
    bomb = "slug: b\ntitle: &a [x,x,x,x,x,x,x,x,x,x]\nphases: [" + "*a," * 40 + "]\n"
    with pytest.raises(InvalidError) as refusal:
        parse_definition(bomb)
    assert len(refusal.value.found) <= documents.SHOWN_CHARACTERS


def test_values_and_places():
    read = read_document("# first\na: &x {b: [1, 2.5, yes, ~]}\nc: *x\nd: '1'\ne: 2026-11-01\n? f\n: 0x10\n")
    assert read.value == {
        "a": {"b": [1, 2.5, True, None]},
        "c": {"b": [1, 2.5, True, None]},
        "d": "1",
        "e": "2026-11-01",
        "f": 16,
    }
    assert (read.places["a", "b", 1].line, read.places["a", "b", 1].column) == (2, 15)
    assert (read.keys["d",].line, read.keys["d",].column) == (4, 1)
    assert read.place(("a", "b", 9, "z")) == read.places["a", "b"]


def test_it_reads_the_same_without_libyaml(monkeypatch):
    import yaml

    text = "a: {b: [1, x], c: |\n    two\n    lines\n  }\nd: é😀\n".replace(
        "c: |\n    two\n    lines\n  ", "c: 'two lines'"
    )
    fast = read_document(text)
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert read_document(text) == fast
    with pytest.raises(DocumentError, match="the key 'a' again"):
        read_document("a: 1\na: 2")


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", '"x"'), ([1, "a"], '[1, "a"]'), ({"a": [None, True]}, '{"a": [null, true]}')],
)
def test_a_short_value_is_shown_whole(value, text):
    assert shown(value) == text


def test_a_long_value_is_cut_before_it_is_written():
    endless = []
    endless.append(endless)  # writing it out would never end
    assert len(shown([["x" * 10**6] * 10**6])) == len(shown({"a" * 10**6: 1})) == documents.SHOWN_CHARACTERS
    assert len(shown([1] * 10**6)) == documents.SHOWN_CHARACTERS
    assert shown(endless).startswith("[[[[")


@pytest.mark.parametrize("text", ['a: "x\\0y"', '"x\\0y": 1', 'a: [1, {b: "\\0"}]', 'a: &n "\\0"\nb: *n'])
def test_characters_that_no_database_takes_are_refused_with_their_place(text):
    with pytest.raises(DocumentError) as refused:
        read_document(text)
    assert refused.value.found == "the character '\\x00'"
    assert refused.value.line == 1
