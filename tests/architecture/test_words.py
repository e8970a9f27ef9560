"""Plain words: what can be counted of the rules in `docs/developers/plain-words.md`. The ceilings may only fall."""

import ast
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = "docs/developers/decisions/"
ABSENT_PAPERS = re.compile(
    r"\b(?:challenges|security|metrics|ranking|architecture|peers|sites|portal)\.md §|Group [A-Z] of the catalogue"
)
NUMBERED_TEST = re.compile(r"\bdef test_[a-z]\d{2,3}_")
BRITISH = re.compile(r"organis(?:er|ers|ed|ing|e|es|ation)\b", re.IGNORECASE)
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


def docstrings() -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    trees = (ast.parse(path.read_text()) for path in tracked("*.py"))
    return [ast.get_docstring(node) or "" for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)]


def test_the_measure_counts_sentences_and_leaves_out_programs_and_tables():
    text = "One. Two; three.\n\n```\na; b; c.\n```\n\n| x; y. |\n" + "More. " * 48 + "`a; b`."
    assert semicolons_per_sentence([text]) == pytest.approx(1 / 51)


@pytest.mark.parametrize(
    ("kind", "ceiling"),
    [("docs", 1 / 30), ("readmes", 1 / 4), ("decisions", 1 / 4), ("docstrings", 1 / 6)],
)
def test_semicolons_are_rare(kind, ceiling):
    """One in thirty sentences is the rule. The site keeps it; the ceilings of the others fall as they are rewritten."""
    of_kind = {
        "docs": lambda place: place.startswith("docs/") and not place.startswith(DECISIONS),
        "decisions": lambda place: place.startswith(DECISIONS),
        "readmes": lambda place: not place.startswith("docs/"),
    }
    texts = docstrings() if kind == "docstrings" else [text for place, text in pages().items() if of_kind[kind](place)]
    assert semicolons_per_sentence(texts) <= ceiling


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
