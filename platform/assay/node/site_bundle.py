"""A bundle on a stick, from the site's side: its orders, receipts for earlier results, and images, sealed where the site named a key.

Nothing is unpacked by a name in the archive. The text is read into memory under a limit. An image goes to the path that the caller
says, and is checked by the hash that the signed order names.
"""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from assay.node.site_problems import SiteProblem
from assay.sealing import SealBroken, unseal

CONTENTS, SEALED = "bundle.json", ".sealed"
LONGEST_CONTENTS = 64 * 2**20
PIECE_BYTES = 2**20


class SiteBundle:
    """One file that organizers made for one site. Raises SiteProblem where it is none, or another site's."""

    def __init__(self, path: Path, *, site: str, challenge: str, phase: str) -> None:
        self.path = path
        with self._member(CONTENTS) as (file, size):
            if size > LONGEST_CONTENTS:
                raise SiteProblem(f"{path} has a list of orders of {size} bytes; expected at most {LONGEST_CONTENTS}")
            try:
                contents = json.load(file)
                found = {name: contents[name] for name in ("site", "challenge", "phase")}
                self.orders: Sequence[Mapping[str, Any]] = list(contents["orders"])
                self.receipts = [
                    (str(UUID(row["evaluation_id"])), dict(row["receipt"])) for row in contents.get("receipts", [])
                ]
                """Of each earlier result that the server took: its evaluation and the server's signed receipt."""
            except (ValueError, KeyError, TypeError) as error:
                raise SiteProblem(f"{path} is no bundle for a site: {error!r}") from error
        wanted = {"site": site, "challenge": challenge, "phase": phase}
        if found != wanted:
            raise SiteProblem(
                f"{path} is for {found['site']} in {found['challenge']}/{found['phase']}; this machine is {site} in {challenge}/{phase}"
            )

    def write_image(self, name: str, *, sha256: str, destination: Path, key: Callable[[], X25519PrivateKey]) -> None:
        """Write the image at `name` to `destination`, opened where it is sealed. Raises SiteProblem, and leaves nothing then."""
        with self._member(name) as (file, _):
            opened = unseal(file, key=key()) if name.endswith(SEALED) else _pieces(file)
            write_checked(opened, sha256=sha256, destination=destination, name=f"{name} in {self.path}")

    @contextmanager
    def _member(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        try:
            with tarfile.open(self.path, "r:") as archive:
                entry = archive.getmember(name)
                file = archive.extractfile(entry)
                if file is None:
                    raise SiteProblem(f"{name} in {self.path} is no file")
                yield file, entry.size
        except (tarfile.TarError, KeyError) as error:
            raise SiteProblem(f"{self.path} is no whole bundle: {error}. Copy it again") from error


def write_checked(pieces: Iterator[bytes], *, sha256: str, destination: Path, name: str) -> None:
    """Write an image, opened where it was sealed. Raises SiteProblem, and leaves nothing then."""
    digest = hashlib.sha256()
    try:
        with destination.open("xb") as target:
            for piece in pieces:
                digest.update(piece)
                target.write(piece)
    except SealBroken as error:
        destination.unlink(missing_ok=True)
        raise SiteProblem(f"{name} does not open: {error}") from error
    except BaseException:
        destination.unlink(missing_ok=True)
        raise
    if digest.hexdigest() != sha256:
        destination.unlink()
        raise SiteProblem(f"{name} has sha256 {digest.hexdigest()}; the order expects {sha256}")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(PIECE_BYTES), b"")
