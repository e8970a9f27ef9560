"""What can go wrong between a person and the server, in words that say what to do."""


class ClientError(Exception):
    """Something the person at the keyboard can read and act on. Shown without a traceback."""

    def __init__(self, message: str, *, found: str = "", expected: str = "", what_to_do: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.expected = expected
        self.what_to_do = what_to_do

    def lines(self) -> list[str]:
        """The message and, where known, what was found, what was expected, what to do: one line each."""
        details = (("found", self.found), ("expected", self.expected), ("what to do", self.what_to_do))
        return [self.message, *(f"{name}: {text}" for name, text in details if text)]


class RefusedError(ClientError):
    """The server understood and said no. `status` is its HTTP status, `code` its own name for the reason."""

    def __init__(
        self, message: str, *, status: int, code: str = "", found: str = "", expected: str = "", what_to_do: str = ""
    ) -> None:
        super().__init__(message, found=found, expected=expected, what_to_do=what_to_do)
        self.status = status
        self.code = code

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later: the server is busy or being restarted."""
        return self.status == 429 or self.status >= 500


class UpgradeNeededError(ClientError):
    """The server is of a version that this program no longer works with. The message says what to upgrade."""


class UnreachableError(ClientError):
    """No answer came: network, address or server. Trying again may help."""
