"""Inspect an uploaded image archive without trusting it, and write our own.

Theory of operation. An archive from `docker save` may replace any tag of the engine that loads it, and its configuration
flows into every container. So nothing uploaded is ever loaded. `inspect_archive` reads the upload in a child process that has
neither rights nor memory to speak of (`child`), in two passes (`inspection`) over streams that count what they yield
(`streams`, `limits`): the outer tar and its documents (`tar`, `layout`), the configuration (`config`), then every layer
(`layers`), and the files of a model that was handed in beside the image (`model`). What comes out is a new archive (`rewrite`)
with our configuration, no tags, and layers whose hash was computed from the very bytes written. `load_archive` loads that one
and checks that the engine arrives at the ID we computed.

Two kinds of failure: `ImageInvalid` is the participant's fault. `IntakeUnavailable` is ours, is retried, and costs nobody
an attempt.
"""

from containers.intake.archives import IntakeUnavailable, inspect_archive, load_archive
from containers.intake.config import Program
from containers.intake.inspection import KeptImage
from containers.intake.limits import IntakeLimits
from containers.intake.reasons import ImageInvalid, Reason
from containers.intake.report import IntakeReport

__all__ = [
    "ImageInvalid",
    "IntakeLimits",
    "IntakeReport",
    "IntakeUnavailable",
    "KeptImage",
    "Program",
    "Reason",
    "inspect_archive",
    "load_archive",
]
