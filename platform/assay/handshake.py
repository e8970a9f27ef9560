"""Which versions of Assay's programs and servers work together: one header each way. No Django here.

A program of ours says with every request who it is, and a server says with every answer from `/api/` who it is:

    Assay-Client: node/0.1.0; api=2
    Assay-Server: assay/0.1.0; api=2; lowest=1

An API level is a whole number that grows when a program may need something that servers had not before, or the other way round.
The version is for people. Only levels are compared. Who sends no level is of the first version, whose level is 1. Both sides
decide for themselves: a server refuses programs below `LOWEST_SERVED`, and a program refuses servers below `LOWEST_USED`. Each
refusal says in one sentence what to upgrade. Unknown parameters are ignored, so that later versions may add some.

The levels so far:

1. the first version;
2. both sides say their level, and a node says its version in its inventory.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Self

CLIENT_HEADER, SERVER_HEADER = "Assay-Client", "Assay-Server"
FIRST_LEVEL = 1
API_LEVEL = 2
LOWEST_SERVED = 1
"""The lowest level of a program that this version's server still serves. Raising it is a decision: older nodes stop working."""
LOWEST_USED = 1
"""The lowest level of a server that this version's programs still work with."""
LONGEST_HEADER = 200
FORM = re.compile(
    r"(?P<name>[a-z][a-z0-9-]{0,30})/(?P<version>[0-9A-Za-z.+!-]{1,60})(?P<parameters>(?:; *[a-z]+=[0-9A-Za-z.]+)*)"
)
PROGRAMS = {
    "cli": "the `assay` command",
    "python": "the Python client",
    "node": "the node",
    "site": "the site agent",
}
"""What people call the programs that say who they are."""


@cache
def installed_version() -> str:
    """The version of Assay that is installed here."""
    return version("assay")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Who is at the other end. `version` is empty where the first version is, which does not say it."""

    name: str
    version: str = ""
    level: int = FIRST_LEVEL
    lowest: int = FIRST_LEVEL

    @classmethod
    def parse(cls, text: str) -> Self:
        """The peer that one of the two headers describes. Raises ValueError."""
        form = FORM.fullmatch(text.strip()) if len(text) <= LONGEST_HEADER else None
        if form is None:
            raise ValueError(f"{text[:LONGEST_HEADER]!r} is not of the form `name/version; api=LEVEL`")
        pairs = (part.split("=", 1) for part in form["parameters"].replace(" ", "").split(";") if part)
        numbers = {name: int(value) for name, value in pairs if re.fullmatch("[0-9]{1,6}", value)}
        level = numbers.get("api", 0)
        if level < FIRST_LEVEL:
            raise ValueError(
                f"{text!r} says no API level; expected `api=LEVEL` with a whole number from {FIRST_LEVEL} on"
            )
        return cls(name=form["name"], version=form["version"], level=level, lowest=numbers.get("lowest", FIRST_LEVEL))

    @property
    def with_version(self) -> str:
        """The version as a sentence names it."""
        return f"Assay {self.version}" if self.version else "the first version of Assay"


def client_header(program: str) -> dict[str, str]:
    """What a program sends with every request. `program` is a key of `PROGRAMS`."""
    if program not in PROGRAMS:
        raise KeyError(program)
    return {CLIENT_HEADER: f"{program}/{installed_version()}; api={API_LEVEL}"}


def server_header() -> str:
    """What the server says with every answer."""
    return f"assay/{installed_version()}; api={API_LEVEL}; lowest={LOWEST_SERVED}"


def server_of(header: str | None) -> Peer:
    """The server that sent this header. One that sends none, or one that nobody can read, counts as the first version."""
    try:
        return Peer.parse(header or "")
    except ValueError:
        return Peer(name="assay")


def why_client_is_refused(client: Peer) -> str:
    """One sentence for the program's operator. Empty where the program is served."""
    if client.level >= LOWEST_SERVED:
        return ""
    return (
        f"Upgrade {PROGRAMS.get(client.name, client.name)}: it speaks API level {client.level}, "
        f"this server (Assay {installed_version()}) serves level {LOWEST_SERVED} and later."
    )


def why_server_is_refused(server: Peer, *, program: str) -> str:
    """One sentence for the user of the program. Empty where the server is new enough."""
    if server.level >= LOWEST_USED:
        return ""
    return (
        f"Upgrade the server: it is {server.with_version} and speaks API level {server.level}, "
        f"{PROGRAMS[program]} (Assay {installed_version()}) needs level {LOWEST_USED} or later."
    )


def may_be_too_old(server: Peer) -> str:
    """What to add to a refusal that may mean that the server does not know the request yet. Empty where it is not older."""
    if server.level >= API_LEVEL:
        return ""
    return (
        f"the server ({server.with_version}, API level {server.level}) is older than this program "
        f"(Assay {installed_version()}, API level {API_LEVEL}) and may not know this request: upgrade the server"
    )
