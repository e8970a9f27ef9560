"""What a site keeps on its own machine: whom it works for, its private key, its token. One folder, readable by its owner alone."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.client.errors import ClientError
from assay.node.joining import write_config
from assay.signatures import kept_key, public_key_text, words_of

SETTINGS, KEY, NEXT_KEY = "site.json", "site.ed25519", "next.ed25519"
NETWORK_VARIABLES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What is needed to reach the server. The service starts without a shell, so joining writes them down."""


@dataclass(frozen=True, kw_only=True)
class SiteSettings:
    """Whom the site works for. `server_key` is the key that was compared by the six words when it joined."""

    url: str
    name: str
    title: str
    challenge: str
    phase: str
    token: str
    server_key: str
    is_confirmed: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def usual_site_folder(*, is_root: bool) -> Path:
    """Where a site keeps its things unless somebody says otherwise."""
    return Path("/var/lib/assay/site") if is_root else Path.home() / ".cache" / "assay" / "site"


class SiteHome:
    """The folder. `settings` is None before the site has joined."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def settings(self) -> SiteSettings | None:
        """What was written down when the site joined."""
        try:
            return SiteSettings(**json.loads((self.folder / SETTINGS).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ClientError(
                f"{self.folder / SETTINGS} cannot be read", found=str(error), what_to_do="join again with a new code"
            ) from error

    def joined(self) -> SiteSettings:
        """The settings. Raises ClientError where nobody has joined."""
        settings = self.settings
        if settings is None:
            raise ClientError(
                "This machine has not joined a challenge as a site",
                found=f"no {SETTINGS} in {self.folder}",
                what_to_do="ask the organizers for a code, then: assay site join CODE --url https://…",
            )
        return settings

    def keep(self, settings: SiteSettings) -> None:
        """Write them down, readable by nobody else."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_config(self.folder / SETTINGS, json.dumps(asdict(settings), indent=2) + "\n")

    def confirm(self) -> None:
        """A person says that the organizer heard the same words."""
        self.keep(replace(self.joined(), is_confirmed=True))

    def key(self) -> Ed25519PrivateKey:
        """The site's private key, made here at the first use. It never leaves this folder. Raises ClientError where it cannot be read."""
        return _whole_key(self.folder / KEY)

    def next_key(self) -> Ed25519PrivateKey:
        """The key that is about to take over. It is kept before the server hears of it, so that no power cut can lose it."""
        return _whole_key(self.folder / NEXT_KEY)

    def take_next_key(self) -> None:
        """The server knows the new key: from now on it is the site's."""
        (self.folder / NEXT_KEY).replace(self.folder / KEY)

    def words(self) -> str:
        """The six words to compare, of the server's key and ours."""
        return words_of(self.joined().server_key, public_key_text(self.key()))

    def forget(self) -> None:
        """Remove settings and keys. Drafts and what was released stay."""
        for name in (SETTINGS, KEY, NEXT_KEY):
            (self.folder / name).unlink(missing_ok=True)

    def prepare_network(self) -> None:
        """Use the proxy and certificates that joining used, unless the environment says otherwise."""
        settings = self.settings
        for name, value in (settings.environment if settings else {}).items():
            os.environ.setdefault(name, value)

    @classmethod
    def at(cls, folder: Path) -> Self:
        """The home in this folder, its network prepared."""
        home = cls(folder)
        home.prepare_network()
        return home


def _whole_key(path: Path) -> Ed25519PrivateKey:
    try:
        return kept_key(path)
    except ValueError as error:
        raise ClientError(
            f"{path} is no private key",
            found=str(error),
            expected="the 32 bytes that were made here",
            what_to_do="bring it back from a backup, or remove it and join again with a new code",
        ) from error


def network_environment() -> dict[str, str]:
    """The variables of this shell that are needed to reach the server."""
    return {name: os.environ[name] for name in NETWORK_VARIABLES if os.environ.get(name)}
