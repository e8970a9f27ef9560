"""The family tree of every refusal: what was found, what was expected, what to do, and whose fault it is.

Services raise these. The API and the pages translate each class once, at the border (`api/errors.py`). Anything else that gets
out of a service is a bug of ours.
"""

from datetime import datetime
from typing import TypeAlias

from django.utils.functional import Promise

Text: TypeAlias = str | Promise
"""A sentence for people. A promise is translated when it becomes a string: here, into the language of the request."""


class AssayError(Exception):
    """Something asked of us that we do not do. `message` is for people; `code` is for programs.

    `field` names what was at fault: a field of the form, a parameter of the operation. Pages show the refusal there.
    """

    code = "refused"
    fault = "participant"

    def __init__(
        self,
        message: Text,
        *,
        code: str = "",
        found: Text = "",
        expected: Text = "",
        what_to_do: Text = "",
        fault: str = "",
        field: str = "",
    ) -> None:
        self.message = str(message)
        super().__init__(self.message)
        self.code = code or type(self).code
        self.found = str(found)
        self.expected = str(expected)
        self.what_to_do = str(what_to_do)
        self.fault = fault or type(self).fault
        self.field = field


class NotFoundError(AssayError):
    """Does not exist, or is not visible to the person who asks: the two look alike on purpose."""

    code = "not_found"


class NotSignedInError(AssayError):
    """We do not know who is asking."""

    code = "not_signed_in"


class NotAllowedError(AssayError):
    """We know who is asking, and they may see this but not do it."""

    code = "not_allowed"


class InvalidError(AssayError):
    """The request's content cannot be used. `line` and `column` count from 1 when a document is at fault."""

    code = "invalid"

    def __init__(
        self,
        message: Text,
        *,
        code: str = "",
        found: Text = "",
        expected: Text = "",
        what_to_do: Text = "",
        line: int | None = None,
        column: int | None = None,
        field: str = "",
    ) -> None:
        super().__init__(message, code=code, found=found, expected=expected, what_to_do=what_to_do, field=field)
        self.line = line
        self.column = column


class ConflictError(AssayError):
    """The request does not fit what is there by now."""

    code = "conflict"


class LimitReachedError(AssayError):
    """A stated limit is used up; `retry_at` says when it will not be."""

    code = "limit_reached"

    def __init__(
        self,
        message: Text,
        *,
        found: Text = "",
        expected: Text = "",
        what_to_do: Text = "",
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(message, found=found, expected=expected, what_to_do=what_to_do)
        self.retry_at = retry_at


class TooLargeError(AssayError):
    """More bytes than we take."""

    code = "too_large"


class OutOfSpaceError(AssayError):
    """We cannot store it at the moment. Nobody but us can help."""

    code = "out_of_space"
    fault = "platform"


class UpgradeNeededError(AssayError):
    """The program that asks is of a version that this server no longer serves."""

    code = "upgrade_needed"


class MailNotSentError(AssayError):
    """The mail server did not take a mail. Nobody but us can help."""

    code = "mail_not_sent"
    fault = "platform"


class ProviderNotReachedError(AssayError):
    """Another organization that signs people in does not answer, or describes itself wrongly."""

    code = "provider_not_reached"
    fault = "platform"
