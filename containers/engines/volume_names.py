"""Named volumes of engines that keep none themselves: a name, whose it is, and at most a folder of the host behind it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from containers.engines import OWNER_LABEL
from containers.errors import EngineRefused

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}")


class VolumeNames:
    """Below `volumes/` of an engine's folder, one file for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "volumes"

    def create(self, *, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """A tmpfs is not kept between containers: nothing runs that could hold it."""
        if not NAME.fullmatch(name):
            raise EngineRefused(
                f"found the volume name {name[:80]!r}; expected letters, digits, dots, hyphens and underscores"
            )
        if options and options.get("type") != "none":
            raise EngineRefused("This engine keeps no volumes of its own: only a folder of the host can be one.")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = json.dumps({"options": dict(options), "labels": dict(labels)})
        (self._folder / f"{name}.json").write_text(text, encoding="utf-8")

    def remove(self, name: str) -> None:
        """The name is forgotten. The folder is not ours."""
        (self._folder / f"{name}.json").unlink(missing_ok=True)

    def of(self, owner: str) -> list[str]:
        """By our label."""
        found = [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in self._files()]
        return [name for name, document in found if document["labels"].get(OWNER_LABEL) == owner]

    def folders(self) -> dict[str, Path]:
        """The folders behind them."""
        documents = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in self._files()}
        return {
            name: Path(document["options"]["device"]) for name, document in documents.items() if document["options"]
        }

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))
