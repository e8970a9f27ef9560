"""What the written pages promise to name is named: the keys of `challenge.yaml`, and the words of the glossary."""

import re
import subprocess
from pathlib import Path

from assay.challenges.definition import CHALLENGE_KEYS, PHASE_KEYS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
READERS = ("participants", "organizers", "hospitals", "operators", "security")
ENTRY = re.compile(r"^([a-z][^\n:]*)\n: (.+(?:\n  .+)*)", re.MULTILINE)
REFUSED = re.compile(r'[Nn]ot ((?:"[^"]+"(?:, | or |, not )?)+)')


def keys_of_table(page: str, heading: str) -> set[str]:
    """The first column of the tables below a heading."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])}


def glossary() -> dict[str, str]:
    """Term → what the glossary says of it. Terms that share an entry are told apart."""
    page = (DOCS / "developers" / "glossary.md").read_text()
    return {term.strip(): meaning for terms, meaning in ENTRY.findall(page) for term in terms.split(",")}


def refused_words() -> dict[str, str]:
    """Word that is not used → the term that stands for it."""
    return {
        word: term
        for term, meaning in glossary().items()
        for group in REFUSED.findall(meaning)
        for word in re.findall(r'"([^"]+)"', group)
    }


def test_the_reference_of_challenge_yaml_names_exactly_the_keys_that_are_read():
    page = (DOCS / "organizers" / "challenge-yaml.md").read_text()
    assert keys_of_table(page, "The challenge") == CHALLENGE_KEYS
    assert keys_of_table(page, "A phase") == PHASE_KEYS


def test_every_term_of_the_glossary_is_used_in_the_code():
    """Code writes `case_run` or `CaseRun` for a case run."""
    listed = ["git", "grep", "-hiE", "--", "", "*.py", "*.html"]
    code = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.lower()
    unused = [term for term in glossary() if not re.search(re.sub(r"[ -]", "[ _-]?", term.lower()), code)]
    assert unused == []


def test_pages_for_readers_use_the_glossarys_word_and_not_another():
    refused = refused_words()
    assert len(refused) > 8
    pattern = re.compile(rf"\b({'|'.join(refused)})s?\b", re.IGNORECASE)
    pages = [path for reader in READERS for path in (DOCS / reader).rglob("*.md")]
    assert len(pages) > 20
    found = [
        f"{path.relative_to(DOCS)}: {word}, say {refused[word.lower()]}"
        for path in pages
        for word in pattern.findall(re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL))
    ]
    assert found == []
