"""Which files a caller gave, and whose they are: one table, a file per algorithm, or a folder per algorithm."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.ranking.score_files.sheets import ENDINGS, ScoresError
from evaluator.volumes import is_left_behind


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file. `own`: the algorithm it belongs to where it has no column for that. `None`: the only file there is.

    `may_be_passed_over`: beside others of the same algorithm, a file without cases is named and not read.
    """

    path: Path
    own: str | None
    may_be_passed_over: bool = False


def find_sources(paths: Sequence[Path]) -> tuple[Source, ...]:
    """The files of paths, of which some may be folders. Raises `ScoresError` where there is none."""
    found = [source for path in paths for source in (_in_folder(path) if path.is_dir() else [_file(path)])]
    if not found:
        raise ScoresError(
            f"{', '.join(str(path) for path in paths)}: found no file of scores; expected files that end in "
            f"{', '.join(ENDINGS)}, or a folder of them for each algorithm"
        )
    if len(found) == 1 and not found[0].may_be_passed_over:
        return (Source(path=found[0].path, own=None),)
    stems = [source.own for source in found]
    if len(set(stems)) < len(found) and all(not source.may_be_passed_over for source in found):
        found = [Source(path=source.path, own=source.path.resolve().parent.name) for source in found]
        again = next((s for s in found if sum(other.own == s.own for other in found) > 1), None)
        if again is not None:
            raise ScoresError(
                f"{again.path}: found several files that could be {again.own}'s; expected a name or a folder for each algorithm"
            )
    return tuple(found)


def _in_folder(folder: Path) -> Iterator[Source]:
    for path in sorted(folder.iterdir()):
        if is_left_behind(path.name):
            continue
        if path.is_dir():
            files = [inner for inner in sorted(path.rglob("*")) if _is_of_scores(inner)]
            yield from (Source(path=inner, own=path.name, may_be_passed_over=True) for inner in files)
        elif _is_of_scores(path):
            yield _file(path)


def _is_of_scores(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(ENDINGS)


def _file(path: Path) -> Source:
    ending = max((end for end in ENDINGS if path.name.lower().endswith(end)), key=len, default="")
    return Source(path=path, own=path.name[: len(path.name) - len(ending)] or path.name)
