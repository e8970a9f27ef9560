"""Who the image's USER is: read from its layers' /etc/passwd and /etc/group, which are never executed.

A name is looked up as runc does (libcontainer `user.GetExecUser`): the first line whose name, or whose uid where USER is a
number, is the one that was asked for. Unlike runc, nothing is guessed: a link, a file that is too long, or a line that is damaged
is a reason to refuse the image where it has to run as that user.
"""

import re
from dataclasses import dataclass, field

from containers.intake.config import is_plain_folder

PASSWD, GROUP = b"etc/passwd", b"etc/group"
ACCOUNT_FILES = (PASSWD, GROUP)
MAX_ACCOUNT_BYTES = 256 << 10
MAX_LINE_BYTES = 1024
LARGEST_ID = 2**31 - 1
"""What the engine accepts."""
NOBODYS_GROUP = 65532
"""The group of runs in place of 0, which is root's."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\$?")
NUMBER = re.compile(r"[0-9]{1,10}")
FOLDER = re.compile(r"/[!-~]{0,255}")


class UserUnknown(Exception):
    """USER cannot be told from the image's files. The text is for the participant."""


@dataclass(frozen=True, kw_only=True)
class ImageUser:
    """A user that is not root: `home` is where its packages and caches lie."""

    uid: int
    gid: int
    home: str

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


@dataclass(kw_only=True)
class AccountFiles:
    """The account files of a stack of layers: content, or why there is none that can be read."""

    contents: dict[bytes, bytes] = field(default_factory=dict)
    problems: dict[bytes, str] = field(default_factory=dict)
    hidden: set[bytes] = field(default_factory=set)
    """Files of the layers below that this one takes away."""

    def put(self, path: bytes, content: bytes) -> None:
        """This layer has the file."""
        self.contents[path] = content
        self.problems.pop(path, None)

    def spoil(self, path: bytes, problem: str) -> None:
        """This layer has something there that is not read."""
        self.contents.pop(path, None)
        self.problems[path] = problem

    def cover(self, upper: "AccountFiles") -> None:
        """Put a layer on top."""
        for path in ACCOUNT_FILES:
            if path in upper.hidden or path in upper.contents or path in upper.problems:
                self.contents.pop(path, None)
                self.problems.pop(path, None)
        self.contents |= upper.contents
        self.problems |= upper.problems

    def lines(self, path: bytes) -> list[list[str]]:
        """The fields of every line. Raises `UserUnknown` where the file cannot be read."""
        if path in self.problems:
            raise UserUnknown(f"the image's /{path.decode()} {self.problems[path]}")
        text = self.contents.get(path, b"")
        found = []
        for line in text.split(b"\n"):
            if not line.strip() or line.startswith(
                (b"#", b"+", b"-")
            ):  # "+" and "-" ask a directory service, which a run has not
                continue
            if len(line) > MAX_LINE_BYTES:
                raise UserUnknown(f"the image's /{path.decode()} has a line of more than {MAX_LINE_BYTES} bytes")
            found.append(line.decode(errors="replace").split(":"))
        return found


def resolve_user(*, user: str, home: str, files: AccountFiles) -> ImageUser | None:
    """Who `USER user` is; None for root. `home` is the image's ENV HOME, which counts before the one in /etc/passwd.

    Raises `UserUnknown`.
    """
    name, _, group = user.partition(":")
    if name in ("", "root", "0"):
        return None
    for text in (name, group):
        if text and not NAME.fullmatch(text):
            raise UserUnknown(
                f"USER is {user[:100]!r}; expected a name or a number, such as `USER user` or `USER 1000:1000`"
            )
    account = _account(name, files=files)
    if account is None and not NUMBER.fullmatch(name):
        raise UserUnknown(
            f"USER is {name!r}, and no line of the image's /etc/passwd has this name. "
            f"Add `RUN useradd --create-home {name}` before `USER {name}` in the Dockerfile"
        )
    uid, gid, folder = account or (_number(name, what="USER"), 0, "")
    if uid == 0:
        return None
    if group:
        gid = _group(group, files=files)
    return ImageUser(uid=uid, gid=gid or NOBODYS_GROUP, home=_home(home) or _home(folder) or "/tmp")  # noqa: S108  a path in the container


def _account(name: str, *, files: AccountFiles) -> tuple[int, int, str] | None:
    for fields in files.lines(PASSWD):
        is_meant = fields[0] == name or (len(fields) > 2 and NUMBER.fullmatch(name) and fields[2] == str(int(name)))
        if is_meant:
            if len(fields) != 7:
                raise UserUnknown(
                    f"the line of {name!r} in the image's /etc/passwd has {len(fields)} fields; expected 7, as `useradd` writes them"
                )
            return _number(fields[2], what="a uid"), _number(fields[3], what="a gid"), fields[5]
    return None


def _group(name: str, *, files: AccountFiles) -> int:
    if NUMBER.fullmatch(name):
        return _number(name, what="the group of USER")
    for fields in files.lines(GROUP):
        if fields[0] == name and len(fields) > 2:
            return _number(fields[2], what="a gid")
    raise UserUnknown(f"the group of USER is {name!r}, and no line of the image's /etc/group has this name")


def _number(text: str, *, what: str) -> int:
    if not NUMBER.fullmatch(text) or int(text) > LARGEST_ID:
        raise UserUnknown(f"{what} is {text[:40]!r}; expected a number of at most {LARGEST_ID}")
    return int(text)


def _home(folder: str) -> str:
    """A plain absolute folder, or nothing."""
    return folder if FOLDER.fullmatch(folder) and is_plain_folder(folder) else ""
