"""The house keeps its shape: these are the rules a reviewer would otherwise have to remember."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_README = 180
LIBRARIES = ("evaluator", "containers")
MEASURED = re.compile(r"\d[\d.,]*\s?(ms|s|seconds?|minutes?|hours?|MB|GB|MiB|GiB|×|x|%|times)(?![\w-])")


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository as git knows them, those just written included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def imported_modules(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def product_files() -> list[Path]:
    files = [
        path for path in tracked("evaluator/*.py", "containers/*.py", "platform/*.py") if "examples" not in path.parts
    ]
    assert len(files) > 20
    return files


def test_platform_is_a_source_root_and_no_package():
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_no_folder_of_tests_shadows_a_real_module():
    assert tracked("tests/**/__init__.py", "tests/__init__.py") == []
    assert not (ROOT / "tests" / "platform").exists()


@pytest.mark.parametrize(
    ("module", "doors"),
    [
        ("docker", {"containers/engines/docker.py"}),
        ("django.core.files.storage", {"platform/assay/testsets/storage.py"}),
    ],
)
def test_every_danger_has_one_door(module, doors):
    users = {
        path.relative_to(ROOT).as_posix()
        for path in product_files()
        if any(name == module or name.startswith(f"{module}.") for name in imported_modules(path))
    }
    assert users <= doors


def test_only_env_reads_the_environment_of_the_server():
    apart = {"client", "node"}  # programs of their own, on machines of their own
    readers = {
        path.relative_to(ROOT / "platform" / "assay").as_posix()
        for path in product_files()
        if path.is_relative_to(ROOT / "platform" / "assay")
        and re.search(r"os\.(environ\b(?!\.setdefault)|getenv)", path.read_text())
    }
    assert {reader for reader in readers if reader.split("/")[0] not in apart} <= {"config/env.py"}


@pytest.mark.slow
def test_the_libraries_import_without_django_celery_or_the_platform():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in product_files()
        if path.relative_to(ROOT).parts[0] in LIBRARIES and path.name != "__main__.py"
    ]
    script = f"""
import importlib, sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("django", "celery", "assay"):
            raise ImportError("no server package is installed here: " + name)
sys.meta_path.insert(0, Wall())
for name in {modules!r}:
    importlib.import_module(name)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_the_lock_has_a_hash_for_everything_and_names_no_address():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--index" not in lock
    blocks = [block for block in re.split(r"\n(?=\S)", lock) if not block.startswith("#")]
    assert len(blocks) > 50
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


def test_nothing_in_the_repository_names_a_machine_it_was_written_on():
    suspects = re.compile(r"/wor[k]/|/hom[e]/\w+/|pyp[i]\.org|registry\.npmj[s]")  # [x]: this line names none itself
    named = {
        path.relative_to(ROOT).as_posix()
        for path in tracked()
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".lock", ".sh", ".json", ""}
        and suspects.search(path.read_text(errors="ignore"))
    }
    assert named == set()


def test_the_readme_quotes_no_figure_a_command_does_not_print():
    """Measured figures go between the markers that a bench command rewrites. Prose carries none."""
    text = (ROOT / "README.md").read_text()
    text = re.sub(r"<!-- bench:begin -->.*?<!-- bench:end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert [line for line in text.splitlines() if MEASURED.search(line)] == []


def test_every_make_target_the_readme_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_target_is_listed_once_as_no_file_and_explained():
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE)
    explained = re.findall(r"^([a-z-]+):.*## \S", text, flags=re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)
    assert sorted(phony.split()) == sorted(targets) == sorted(explained)
    (column,) = re.findall(r"expand -t (\d+)", text)
    assert max(map(len, targets)) < int(column)


def test_a_readme_says_what_a_room_is_and_no_more():
    """Its map and its rules fit on some screens. Reference text belongs into `docs/`, a decision into a file of its own."""
    lines = {path: len(path.read_text().splitlines()) for path in tracked("*README.md")}
    assert {path.relative_to(ROOT).as_posix(): count for path, count in lines.items() if count > LONGEST_README} == {}


def test_every_room_readme_ends_with_a_link_to_its_decisions():
    """Decisions are files of their own, so that each can be linked to and replaced: `docs/developers/decisions/NNNN-title.md`."""
    rooms = ("evaluator", "containers", "deploy", "platform/assay/*")
    for path in tracked(*(f"{room}/README.md" for room in rooms)):
        last = path.read_text().split("\n## ")[-1]
        assert last.startswith("Decisions\n"), path
        assert "docs/developers/decisions/" in last, path
        assert not re.search(r"\d{4}-\d\d", last), (
            f"{path}: move this decision into a file of docs/developers/decisions"
        )


def test_every_decision_has_a_number_of_its_own_a_date_and_a_room():
    head = re.compile(r"# .+\n\n\*\d{4}-\d\d(-\d\d)? · (?P<room>[\w/.-]+)( · [^*]+)?\*\n\n\S")
    files = sorted((ROOT / "docs" / "developers" / "decisions").glob("*.md"))
    heads = {path.name: head.match(path.read_text()) for path in files}
    assert len(files) > 150
    assert [name for name, found in heads.items() if not found] == []
    numbers = [name[:4] for name in heads]
    assert [number for number in numbers if not number.isdigit() or numbers.count(number) > 1] == []
