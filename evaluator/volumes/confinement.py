"""How a process that looks at one untrusted file confines itself, and how it answers. Standard library only: it starts fast."""

import errno
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from evaluator.errors import InvalidVolume, Reason

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
    soft = request["cpu_seconds"]  # SIGXCPU: so that a SIGKILL always came from outside
    resource.setrlimit(resource.RLIMIT_CPU, (soft, soft + 5))
    for limit, value in (
        (resource.RLIMIT_AS, request["memory_bytes"]),
        (resource.RLIMIT_FSIZE, request["output_bytes"]),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


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
