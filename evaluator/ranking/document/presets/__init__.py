"""Rankings of real challenges and platforms as documents: one YAML file each, read by name.

A preset is only data. `parse_ranking({"preset": name, …})` starts from it. Its `title` says in one line what it does,
and `unconfirmed` lists what nobody has confirmed with the organizers.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evaluator.ranking.errors import ConfigError

FOLDER = Path(__file__).parent


def preset_names() -> tuple[str, ...]:
    """Every preset, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def preset_document(name: str, *, path: str = "preset") -> Mapping[str, Any]:
    """The ranking document of a preset."""
    import yaml  # here, so that `import evaluator.scoring.case` needs NumPy and nothing else

    if name not in preset_names():
        raise ConfigError(f"{path}: found {name!r}; expected one of {', '.join(preset_names())}")
    document: Mapping[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return document


@cache
def preset_titles() -> Mapping[str, str]:
    """Name → one line of explanation. The files are read once: a page of rules shows them all."""
    return MappingProxyType({name: str(preset_document(name)["title"]) for name in preset_names()})
