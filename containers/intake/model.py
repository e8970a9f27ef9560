"""A model archive becomes the last layer of the image: its files lie in one folder, read-only like everything else of the image.

A participant hands in weights beside an image as a tar (grand-challenge's `/opt/ml/model`, MedPerf's `additional_files`). Nothing
of its headers is kept but names and lengths: a layer of our own is written, with plain files and folders that everybody may read. Links
and devices are refused, and so are the names by which a layer removes files of the layers below it.
"""

import tarfile
from collections.abc import Iterator

from containers.intake.layers import relative_path
from containers.intake.layout import ImageLayout, member_name
from containers.intake.limits import Account
from containers.intake.reasons import ImageInvalid, Reason
from containers.intake.streams import CHUNK_BYTES, Stream, open_file, uncompressed
from containers.intake.tar import BLOCK, Kind, is_tar, read_entries

REMOVES = b".wh."
"""How the name of a file begins by which a layer removes one."""


def open_model(descriptor: int) -> Stream:
    """The tar at this descriptor, whether compressed or not."""
    stream = uncompressed(open_file(descriptor))
    if not is_tar(stream):
        raise ImageInvalid(
            Reason.NOT_AN_ARCHIVE, "The model is no tar archive. Make one with `tar -czf model.tar.gz -C FOLDER .`."
        )
    return stream


def open_model_layer(descriptor: int, *, layout: ImageLayout) -> Stream:
    """The last layer of one of our own archives, which a model became before."""
    stream = open_file(descriptor)
    for entry in read_entries(stream):
        if entry.kind is Kind.FILE and member_name(entry) == layout.layers[-1]:
            return stream.limited(entry.size)
    raise ImageInvalid(Reason.TRUNCATED, "The image that the model was kept in lacks its last layer.")


class ModelLayer:
    """The layer of a model, piece by piece: what is read of the tar, and what is written of it.

    `kept_in`: the folder that the model lay in, where the tar is the layer of an image that was checked before.
    """

    def __init__(self, stream: Stream, *, folder: str, kept_in: str = "", account: Account | None = None) -> None:
        self._account = account
        self._stream = stream
        self._folder = folder.strip("/").encode()
        self._kept_in = kept_in.strip("/").encode()

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the layer, in order. Raises `ImageInvalid`."""
        parts = self._folder.split(b"/")
        for depth in range(1, len(parts) + 1):
            yield _header(b"/".join(parts[:depth]), size=None)
        for entry in read_entries(self._stream):
            if self._account is not None:
                self._account.add_entry()
            name = relative_path(entry.name)
            if self._kept_in:
                if not name.startswith(self._kept_in + b"/"):
                    continue  # the folders that lead there
                name = name[len(self._kept_in) + 1 :]
            if entry.kind not in (Kind.FILE, Kind.FOLDER) or any(part.startswith(REMOVES) for part in name.split(b"/")):
                shown = name[:80].decode(errors="replace")
                raise ImageInvalid(
                    Reason.UNSAFE_PATH,
                    f"The model archive holds {shown!r}, a {entry.kind} or a name that is kept for the system. Put plain files "
                    "and folders into it (`tar --dereference`).",
                )
            if not name:
                continue
            path = self._folder + b"/" + name
            yield _header(path, size=entry.size if entry.kind is Kind.FILE else None)
            if entry.kind is Kind.FILE:
                yield from self._body(entry.size)
        yield bytes(2 * BLOCK)
        self._stream.drain()

    def _body(self, size: int) -> Iterator[bytes]:
        left = size
        while left:
            piece = self._stream.read(min(left, CHUNK_BYTES))
            if not piece:
                raise ImageInvalid(Reason.TRUNCATED, f"The model archive ends {left} bytes too early: upload it again.")
            left -= len(piece)
            yield bytes(piece)
        yield bytes(-size % BLOCK)


def _header(path: bytes, *, size: int | None) -> bytes:
    """The header of a file, or of a folder where there is no size."""
    entry = tarfile.TarInfo(path.decode(errors="surrogateescape"))
    entry.type, entry.mode = (tarfile.DIRTYPE, 0o755) if size is None else (tarfile.REGTYPE, 0o644)
    entry.size = size or 0
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
