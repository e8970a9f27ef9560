"""Why an uploaded archive is refused: a closed vocabulary for programs, a sentence for people."""

from enum import StrEnum

from containers.errors import ContainersError


class Reason(StrEnum):
    """What is wrong with the archive. The participant has to fix all of these."""

    NOT_AN_ARCHIVE = "not_an_archive"
    """Not a tar, gzip or Zstandard file, or not one that holds an image."""
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    """A header, name or document inside breaks the rules of its format."""
    NOT_ONE_IMAGE = "not_one_image"
    TOO_LARGE = "too_large"
    """More bytes than allowed once unpacked."""
    COMPRESSION_BOMB = "compression_bomb"
    TOO_MANY_FILES = "too_many_files"
    TOO_MANY_LAYERS = "too_many_layers"
    LAYER_MISMATCH = "layer_mismatch"
    """A layer is missing, or its content is not what the configuration promises."""
    UNSAFE_PATH = "unsafe_path"
    """A name or link that would leave the folder it is unpacked into."""
    WRONG_PLATFORM = "wrong_platform"
    NO_COMMAND = "no_command"
    ENTRY_POINT = "entry_point"
    """The image's program is not there, not executable, or a script that no program of the image can read."""
    UNSAFE_CONFIGURATION = "unsafe_configuration"
    USER_UNKNOWN = "user_unknown"
    """USER is nobody in the image's /etc/passwd, and the phase's profile runs it as that user."""
    CONFIGURATION_TOO_LARGE = "configuration_too_large"
    TOO_COSTLY = "too_costly"
    """Reading it took more memory or processor time than any honest image needs."""


class ImageInvalid(ContainersError):
    """The archive is refused. `message` may be shown to the participant: what was found, what was expected, what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
