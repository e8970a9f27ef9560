"""Plain words: what can be counted of the rules in `docs/developers/plain-words.md`.

One semicolon in thirty sentences is the rule.
"""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = "docs/developers/decisions/"
ABSENT_PAPERS = re.compile(
    r"\b(?:challenges|security|metrics|ranking|architecture|peers|sites|portal)\.md §|Group [A-Z] of the catalogue"
)
NUMBERED_TEST = re.compile(r"\bdef test_[a-z]\d{2,3}_")
BRITISH = re.compile(r"organis(?:er|ers|ed|ing|e|es|ation)\b", re.IGNORECASE)
RECORDS = re.compile(r"test_words\.py$|developers/plain-words\.md$|developers/decisions/|CHANGELOG\.md$")
DIRECTIVE = re.compile(r"#\s*(?:noqa|type:|fmt:|pragma|!)")
MOST_SEMICOLONS = 1 / 30
RIDDLES = {
    r"\bby the dozen\b": "many at once",
    r"\bnone of your business\b": "not visible to you",
    r"\ba little patience\b": "wait some seconds",
    r"\bhowever a container\b": "leftover containers",
    r"\bfinds? the words\b": "says what is wrong",
    r"\blose their teeth\b": "are made harmless",
    r"\bat a stroke\b": "at once",
}
RARE = {r"\bfor ever\b": "without end", r"\bwhoever\b": "who does it, by name"}
MOST_RARE = 12
INLINE_PROGRAM = re.compile(r"`[^`\n]*`")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def pages() -> dict[str, str]:
    """Every Markdown page by its place."""
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in tracked("*.md")}


def prose(text: str) -> str:
    """A page without its programs and tables."""
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("|")]
    return INLINE_PROGRAM.sub("x", "\n".join(lines))


def semicolons_per_sentence(texts: Iterable[str]) -> float:
    plain = [prose(text) for text in texts]
    sentences = sum(len(re.findall(r"[.!?:](?=\s|$)", text)) for text in plain)
    assert sentences > 50
    return sum(text.count(";") for text in plain) / sentences


def docstrings_and_comments(hall: str) -> Iterator[str]:
    """Of every Python file below a folder."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in tracked(f"{hall}/*.py"):
        text = path.read_text()
        yield from (ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, kinds))
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and not DIRECTIVE.match(token.string):
                yield token.string.removeprefix("#").strip() + "."


def test_the_measure_counts_sentences_and_leaves_out_programs_and_tables():
    text = "One. Two; three.\n\n```\na; b; c.\n```\n\n| x; y. |\n" + "More. " * 48 + "`a; b`."
    assert semicolons_per_sentence([text]) == pytest.approx(1 / 51)


@pytest.mark.parametrize("kind", ["docs", "decisions", "readmes"])
def test_semicolons_are_rare_on_pages(kind):
    of_kind = {
        "docs": lambda place: place.startswith("docs/") and not place.startswith(DECISIONS),
        "decisions": lambda place: place.startswith(DECISIONS),
        "readmes": lambda place: not place.startswith("docs/"),
    }
    texts = [text for place, text in pages().items() if of_kind[kind](place)]
    assert semicolons_per_sentence(texts) <= MOST_SEMICOLONS


@pytest.mark.parametrize("hall", ["evaluator", "containers", "platform", "deploy", "docs", "tests"])
def test_semicolons_are_rare_in_docstrings_and_comments(hall):
    assert semicolons_per_sentence(docstrings_and_comments(hall)) <= MOST_SEMICOLONS


def places_of(phrases: Iterable[str]) -> list[str]:
    """Files that hold one of the phrases, across line ends. Records of the past are left out."""
    files = [path for path in tracked("*.py", "*.md", "*.c", "*.h") if not RECORDS.search(path.as_posix())]
    texts = {path.relative_to(ROOT).as_posix(): " ".join(path.read_text().split()) for path in files}
    assert len(texts) > 500
    pattern = re.compile("|".join(phrases), re.IGNORECASE)
    return sorted(f"{place}: {found}" for place, text in texts.items() for found in pattern.findall(text))


def test_no_text_holds_a_riddle():
    """Phrases that stopped readers, each with what it means."""
    assert places_of(RIDDLES) == []


def test_words_without_an_actor_are_rare():
    found = places_of(RARE)
    assert len(found) <= MOST_RARE, found


def test_no_page_of_the_site_has_many_semicolons():
    crowded = [
        place
        for place, text in pages().items()
        if place.startswith("docs/") and not place.startswith(DECISIONS) and prose(text).count(";") > 3
    ]
    assert crowded == []


def test_organizer_is_spelt_in_one_way():
    """Protocol documents are left out: a word in them changes their hash."""
    files = [path for path in tracked("*.py", "*.md", "*.html", "*.json", "*.toml") if path != Path(__file__)]
    assert [path.relative_to(ROOT).as_posix() for path in files if BRITISH.search(path.read_text())] == []


def test_no_text_refers_to_papers_that_are_not_in_the_repository():
    files = [path for path in tracked("*.py", "*.md") if path != Path(__file__)]
    assert [path.relative_to(ROOT).as_posix() for path in files if ABSENT_PAPERS.search(path.read_text())] == []


def test_no_test_is_named_after_a_number_of_a_list():
    assert [path.name for path in tracked("tests/**/*.py") if NUMBERED_TEST.search(path.read_text())] == []
