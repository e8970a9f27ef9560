"""`make docs`: build the documentation into var/docs, offline. Any warning ends the build with an error.

The pages people write are in `docs/`. The generated pages follow from the code: the registry of metrics, the protocols, the verdicts,
the commands, the API's description, the environment and the heads of the decisions. Both are put together in `var/docs-source`, which
Sphinx reads. Nothing generated is stored in the repository, so it cannot be out of date.
"""

import argparse
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGES = ROOT / "docs"
for folder in (HERE, ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import plain_django  # noqa: E402  the paths above come first

plain_django.configure()

import api_page  # noqa: E402  as above
import catalogue_page  # noqa: E402  as above
import commands_page  # noqa: E402  as above
import decisions_page  # noqa: E402  as above
import environment_page  # noqa: E402  as above
import existing_things_page  # noqa: E402  as above
import metric_pages  # noqa: E402  as above
import protocol_keys_page  # noqa: E402  as above
import protocol_pages  # noqa: E402  as above
import ranking_presets_page  # noqa: E402  as above
import score_tables_page  # noqa: E402  as above
import verdicts_page  # noqa: E402  as above
from sphinx.cmd.build import build_main  # noqa: E402  as above

GENERATORS = (
    metric_pages,
    protocol_pages,
    protocol_keys_page,
    verdicts_page,
    catalogue_page,
    existing_things_page,
    ranking_presets_page,
    score_tables_page,
    commands_page,
    api_page,
    environment_page,
    decisions_page,
)
NOT_PAGES = {"site", "README.md"}


def generated() -> Iterator[tuple[str, str]]:
    """Every generated page: its place in the site and its text."""
    for generator in GENERATORS:
        yield from generator.pages()


def gather(source: Path) -> None:
    """Put written and generated pages into one folder. Files that did not change keep their time, so Sphinx skips them."""
    wanted = {path.relative_to(PAGES): path.read_bytes() for path in _written()}
    wanted |= {Path(place): text.encode() for place, text in generated()}
    for place in [place for place in wanted if place.name == "index.md"]:
        wanted[place] = complete_contents(wanted[place].decode(), folder=place.parent, places=wanted).encode()
    for place, content in wanted.items():
        target = source / place
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    for path in source.rglob("*"):
        if path.is_file() and path.relative_to(source) not in wanted:
            path.unlink()


def complete_contents(text: str, *, folder: Path, places: Collection[Path]) -> str:
    """The page with a line `*` of its contents replaced by the pages of its folder that it does not name."""
    named = set(text.splitlines())
    rest = sorted(place.stem for place in places if place.parent == folder and place.suffix == ".md")
    rest = [name for name in rest if name not in named and name != "index"]
    lines = [other for line in text.splitlines() for other in (rest if line == "*" else [line])]
    return "\n".join(lines) + "\n"


def _written() -> Iterator[Path]:
    for path in sorted(PAGES.rglob("*")):
        if path.is_file() and path.relative_to(PAGES).parts[0] not in NOT_PAGES and "__pycache__" not in path.parts:
            yield path


def build(*, target: Path, source: Path) -> int:
    """Build the site. Returns 0 when there was no warning."""
    gather(source)
    options = ["-b", "html", "-W", "--keep-going", "-q", "-d", str(source.with_name(source.name + "-cache"))]
    return build_main([*options, str(source), str(target)])


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Build the documentation, offline.")
    parser.add_argument("--target", type=Path, default=ROOT / "var" / "docs", help="where the site goes (var/docs)")
    parser.add_argument("--clean", action="store_true", help="remove what earlier builds left first")
    arguments = parser.parse_args()
    target = arguments.target.resolve()
    source = target.with_name(target.name + "-source")
    if arguments.clean:
        for folder in (target, source, source.with_name(source.name + "-cache")):
            shutil.rmtree(folder, ignore_errors=True)
    outcome = build(target=target, source=source)
    if outcome == 0:
        print(f"docs: built; open {target / 'index.html'}")
    return outcome


if __name__ == "__main__":
    raise SystemExit(main())
