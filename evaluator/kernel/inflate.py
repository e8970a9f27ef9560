"""Which decoder reads gzip streams, and the kernel's own decoder by itself.

The kernel's decoder is native code that reads bytes which somebody else wrote. `ASSAY_INFLATE=zlib` takes every gzip stream through
zlib instead: the same values and the same refusals, slower. `kernel`, which is also what an unset variable means, takes the
kernel's decoder where the kernel was built.
"""

import os

import numpy as np
from numpy.typing import NDArray

from evaluator.kernel.library import address, kernel, raise_unless_ok

SWITCH = "ASSAY_INFLATE"
_SLACK_BYTES = 512


def uses_kernel_decoder() -> bool:
    """Whether gzip streams may go through the kernel's decoder. ValueError if ASSAY_INFLATE holds an unknown word."""
    chosen = os.environ.get(SWITCH) or "kernel"
    if chosen not in ("kernel", "zlib"):
        raise ValueError(f"found {SWITCH}={chosen}; expected kernel or zlib")
    return chosen == "kernel"


def inflate_gzip(stream: bytes, *, size: int) -> NDArray[np.uint8]:
    """The `size` bytes that one gzip member holds. Raises KernelError if it is unsound, or holds fewer or more.

    Always by the kernel's decoder. Untrusted streams belong in a limited process.
    """
    room = np.empty(size + _SLACK_BYTES, np.uint8)
    raise_unless_ok(kernel().assay_inflate(stream, len(stream), address(room), size))
    return room[:size]
