"""The kernel's gzip decoder by itself, for those who want bytes rather than measurements.

It is native code that reads what it is given: untrusted streams belong in a limited process, like everything of theirs.
"""

import numpy as np
from numpy.typing import NDArray

from evaluator.kernel.library import address, kernel, raise_unless_ok

_SLACK_BYTES = 512


def inflate_gzip(stream: bytes, *, size: int) -> NDArray[np.uint8]:
    """The `size` bytes that one gzip member holds; KernelError if it is unsound, or holds fewer or more."""
    room = np.empty(size + _SLACK_BYTES, np.uint8)
    raise_unless_ok(kernel().assay_inflate(stream, len(stream), address(room), size))
    return room[:size]
