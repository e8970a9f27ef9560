"""The intake report: what was accepted under which identity, what was changed, what was seen. The participant may read it."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class IntakeReport:
    """An accepted image. Every text in it that came from the image is shortened and stays untrusted."""

    uploaded_image_id: str
    """sha256 of the configuration as uploaded: what `docker images --no-trunc` shows on the participant's machine."""
    image_id: str
    """sha256 of our configuration: the image that runs."""
    architecture: str
    layers: int
    bytes: int
    """Length of the rewritten archive."""
    sha256: str
    """Hash of the rewritten archive."""
    unpacked_bytes: int
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    working_dir: str
    user: str
    """The USER the image asked for; containers run as 65532 all the same, unless the profile is `image-user`."""
    base_os: str
    versions: dict[str, str]
    """Of Python, CUDA, PyTorch and relatives, as far as names of files and variables tell."""
    entries: dict[str, int]
    setuid_files: int
    neutralised: tuple[str, ...]
    """What the image asked for and does not get, a line each."""
    warnings: tuple[str, ...]
    warnings_as_user: tuple[str, ...] = ()
    """What matters where containers run as 65532: under the profiles `default` and `loopback`."""
    warnings_as_image_user: tuple[str, ...] = ()
    """What matters under the profile `image-user`."""
    run_user: str = ""
    """`uid:gid` under the profile `image-user`; empty where USER is root, whom that profile runs as 65532 like everybody."""
    home: str = ""
    user_problem: str = ""
    """Why the profile `image-user` cannot run this image; empty when it can."""
    entry_point_problem: str = ""
    """Why the image's own program cannot be started, as any user; empty when it can, or where its files do not tell."""
    needed_profile: str = "default"
    """The profile this image was built for, as far as its files tell."""
    needed_because: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for the database and the API."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "IntakeReport":
        """The inverse of `to_json`, lists becoming tuples again."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**fields)
