"""The limited process that looks at one untrusted file: `python -I -m evaluator.volumes.child`.

It is given two open descriptors (the untrusted source, the canonical target) and one JSON request on standard input, and
answers with one JSON line. Before it touches the source it gives up root if it has it, closes every other descriptor and
takes limits on memory, processor time and file size; it can open nothing more, not even a module. It holds no reference, no
secret and no name of either.
"""

import errno
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from evaluator.errors import InvalidVolume, Reason
from evaluator.volumes.canonical import write_canonical_channels
from evaluator.volumes.geometry import Grid, GridTolerance
from evaluator.volumes.strict import Expectation, ReaderLimits, read_channels

NOBODY = 65534


def confine(request: dict[str, Any], *, keep: set[int]) -> None:
    """Give up everything this process does not need for one file."""
    highest = max(keep) + 1
    for descriptor in range(3, highest):
        if descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:
                continue
    os.closerange(highest, 1 << 16)
    for limit, value in (
        (resource.RLIMIT_AS, request["memory_bytes"]),
        (resource.RLIMIT_CPU, request["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, request["output_bytes"]),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Read the source strictly, write the target canonically, answer that it is done."""
    given = request["grid"]
    allowed = request["allowed_values"]
    expectation = Expectation(
        grid=Grid.from_json(given) if given else None,
        tolerance=GridTolerance(**request["tolerance"]),
        allowed_values=None if allowed is None else frozenset(allowed),
        channels=request["channels"],
    )
    limits = ReaderLimits(file_bytes=request["file_bytes"], voxels=request["voxels"])
    with os.fdopen(request["source"], "rb") as source, os.fdopen(request["target"], "wb") as target:
        header, channels = read_channels(source, expectation=expectation, limits=limits)
        grid = expectation.grid or header.grid
        write_canonical_channels(channels, grid=grid, count=header.channels, target=target)
    return {}


def main() -> None:
    """One volume."""
    serve(convert)


def serve(convert: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """One request, one answer, the end."""
    request = json.load(sys.stdin)
    confine(request, keep={request["source"], request["target"]})
    try:
        answer = convert(request)
    except InvalidVolume as problem:
        answer = {"reason": problem.reason, "found": problem.found, "expected": problem.expected}
    except MemoryError:
        answer = {
            "reason": Reason.READER_LIMIT,
            "found": "more memory needed than allowed",
            "expected": "a smaller file",
        }
    except OSError as problem:
        if problem.errno != errno.EFBIG:
            raise
        answer = {
            "reason": Reason.READER_LIMIT,
            "found": "more bytes to write than allowed",
            "expected": "a smaller file",
        }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
