"""Coverage-guided fuzzing of the strict reader: `python tests/evaluator/fuzz_volumes.py tests/evaluator/corpus -max_total_time=60`.

Needs `pip install atheris`. Whatever it finds is kept in the corpus, which the normal suite replays without atheris.
"""

import io
import sys

import atheris

with atheris.instrument_imports(include=["evaluator.volumes"]):
    from evaluator.errors import InvalidVolume
    from evaluator.volumes.strict import Expectation, ReaderLimits, read_channels

LIMITS = ReaderLimits(voxels=1 << 16)
EXPECTATIONS = (Expectation(), Expectation(allowed_values=frozenset({1, 2})), Expectation(channels=2))


def read_or_refuse(content: bytes) -> None:
    """Any input is a volume or an InvalidVolume. Anything else is a finding."""
    for expectation in EXPECTATIONS:
        try:
            header, channels = read_channels(io.BytesIO(content), expectation=expectation, limits=LIMITS)
            assert sum(channel.size for channel in channels) == header.grid.voxels * header.channels
        except InvalidVolume:
            continue


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_or_refuse)
    atheris.Fuzz()
