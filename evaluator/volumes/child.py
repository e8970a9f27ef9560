"""The limited process that looks at one untrusted file: `python -I -m evaluator.volumes.child`.

It is given two open descriptors (the untrusted source, the canonical target) and one JSON request on standard input, and
answers with one JSON line. Before it touches the source it gives up root if it has it, closes every other descriptor and
takes limits on memory, processor time and file size. It can open nothing more, not even a module. It holds no reference, no
secret and no name of either.
"""

import os
from typing import Any

from evaluator.volumes.canonical import write_canonical_channels
from evaluator.volumes.confinement import serve
from evaluator.volumes.geometry import Grid, GridTolerance
from evaluator.volumes.strict import Expectation, ReaderLimits, read_channels


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


if __name__ == "__main__":
    main()
