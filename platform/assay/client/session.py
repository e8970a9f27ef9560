"""What every command shares: which server and which token the command line, the environment or the file names."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.client.credentials import choose_credentials
from assay.client.errors import ClientError

if TYPE_CHECKING:
    from assay.client.http import Connection


@dataclass(frozen=True, kw_only=True)
class Session:
    """The choices of one invocation. The file at `path` is read only when a command needs it."""

    url: str
    token: str
    path: Path

    def connect(self) -> "Connection":
        """A connection to the chosen server as the chosen person."""
        from assay.client.http import Connection  # httpx: only where a server is asked

        credentials = choose_credentials(url=self.url, token=self.token, path=self.path)
        return Connection(url=credentials.url, token=credentials.token)

    def address(self) -> str:
        """The chosen server, for commands that make a token rather than use one."""
        return choose_credentials(url=self.url, token=self.token, path=self.path).url


pass_session = click.make_pass_decorator(Session)


def split_phase(text: str) -> tuple[str, str]:
    """`challenge/phase` as two slugs."""
    challenge, _, phase = text.partition("/")
    if not (challenge and phase) or "/" in phase:
        raise ClientError(
            f"{text!r} does not name a phase",
            expected="CHALLENGE/PHASE, such as mni-brain-tissue/open",
            what_to_do="copy it from the address of the phase's page",
        )
    return challenge, phase


def phase_path(text: str) -> str:
    """Where a phase lives in the API."""
    challenge, phase = split_phase(text)
    return f"challenges/{challenge}/phases/{phase}"
