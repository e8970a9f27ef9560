"""Which server we talk to and as whom: `~/.config/assay/config.json`, readable by its owner only."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from assay import private_files
from assay.client.errors import ClientError


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """One server and one token for it."""

    url: str
    token: str = ""
    username: str = ""


def config_path(*, environment: dict[str, str] | None = None) -> Path:
    """Where the credentials live, by the XDG rules."""
    variables = dict(os.environ) if environment is None else environment
    base = variables.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "assay" / "config.json"


def read_credentials(*, path: Path) -> Credentials | None:
    """What `assay login` wrote, or nothing."""
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text())
        return Credentials(url=document["url"], token=document["token"], username=document.get("username", ""))
    except (ValueError, KeyError, TypeError) as error:
        raise ClientError(
            f"{path} cannot be read", found=str(error), expected="url and token", what_to_do="run `assay login` again"
        ) from error


def write_credentials(*, path: Path, credentials: Credentials) -> None:
    """Write with mode 0600 from the first byte on: the token is as good as a password."""
    path.parent.mkdir(parents=True, exist_ok=True)
    private_files.replace(path, json.dumps(asdict(credentials), indent=2).encode())


def choose_credentials(*, url: str, token: str, path: Path) -> Credentials:
    """Command line and environment win over the file. A token is only ever sent to the server it was made for."""
    saved = read_credentials(path=path)
    if url and saved and url.rstrip("/") != saved.url.rstrip("/"):
        saved = None
    chosen_url = url or (saved.url if saved else "")
    if not chosen_url:
        raise ClientError("No server is known", what_to_do="run `assay login URL`, or set ASSAY_URL and ASSAY_TOKEN")
    return Credentials(
        url=chosen_url.rstrip("/"),
        token=token or (saved.token if saved else ""),
        username=saved.username if saved else "",
    )
