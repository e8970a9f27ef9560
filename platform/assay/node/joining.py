"""`assay node join`: what makes a machine a node for good. Its configuration, and the service that keeps the agent running.

The configuration is a file of `NAME=value` lines that systemd, a shell and `assay node run --config` read alike. It holds the
node's token, so only its owner may read it.
"""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from assay import private_files
from containers.engines.choice import EngineChoice

SERVICE = "assay-node"
SYSTEMD = Path("/run/systemd/system")
UNITS = Path("/etc/systemd/system")


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """What `assay node run` needs to know on this machine."""

    url: str
    token: str
    folder: Path
    engine: EngineChoice
    slots: int | None = None
    broker: str = ""

    def text(self) -> str:
        """The file's content. What is not set is left out."""
        values = {
            "ASSAY_URL": self.url,
            "ASSAY_NODE_TOKEN": self.token,
            "ASSAY_NODE_FOLDER": str(self.folder),
            "ASSAY_NODE_SLOTS": str(self.slots or ""),
            "ASSAY_ENGINE": self.engine.kind.value,
            "ASSAY_ENGINE_SOCKET": self.engine.socket,
            "ASSAY_ENGINE_FOLDER": str(self.engine.folder or ""),
            "ASSAY_ENGINE_OPTIONS": self.engine.options,
            "ASSAY_BROKER_URL": self.broker,
        }
        return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items() if value)


def usual_config(*, is_root: bool) -> Path:
    """Where the configuration lies unless somebody says otherwise."""
    return Path("/etc/assay/node") if is_root else Path.home() / ".config" / "assay" / "node"


def usual_folder(*, is_root: bool) -> Path:
    """Where images and scratch lie unless somebody says otherwise."""
    return Path("/var/lib/assay/node") if is_root else Path.home() / ".cache" / "assay" / "node"


def write_config(path: Path, text: str) -> None:
    """Replace the file at once. It is never readable by others, not even while it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    private_files.replace(path, text.encode())


def read_config(path: Path) -> dict[str, str]:
    """The lines of the file. Comments and empty lines are left out."""
    words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def unit_text(*, config: Path, python: str = sys.executable) -> str:
    """The systemd unit for this installation."""
    template = files("assay.node").joinpath("assay-node.service").read_text(encoding="utf-8")
    return template.replace("@CONFIG@", str(config)).replace("@PYTHON@", python)


def install_service(*, config: Path, call: Callable[[Sequence[str]], object], units: Path = UNITS) -> None:
    """Write the unit and have systemd start it now and at every boot. `call` runs a command and raises when it fails."""
    (units / f"{SERVICE}.service").write_text(unit_text(config=config), encoding="utf-8")
    call(["systemctl", "daemon-reload"])
    call(["systemctl", "enable", SERVICE])
    call(["systemctl", "restart", SERVICE])


def commands_by_hand(*, config: Path, is_root: bool, has_systemd: bool) -> str:
    """What to type where the service cannot be installed from here."""
    run = shlex.join([sys.executable, "-m", "assay.node", "run", "--config", str(config)])
    if has_systemd and not is_root:
        return f"To run it now:            {run}\nTo run it at every boot:  join again as root, which installs the service."
    return f"There is no systemd here. To run it now:  {run}\nHave your own supervisor start this at boot and send SIGTERM to stop."
