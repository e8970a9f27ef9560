"""The group of `assay site …`: what goes wrong is told in words that a hospital can act on, and never as a traceback.

It stands here and not in `assay` alone, because the service starts `python -m assay.node site run`.
"""

import errno
import os
from typing import Any

import click

from assay.client.errors import ClientError
from assay.node.folder import FolderInvalid
from assay.node.http import NodeApiProblem
from assay.node.local import NotRun, UnsuitableHardware
from assay.node.review import TooFewCases
from assay.node.site_problems import SiteProblem
from containers.errors import EngineError, EngineUnreachable
from containers.intake import ImageInvalid, IntakeUnavailable
from evaluator.errors import EvaluatorError

TROUBLE = (
    NotRun,
    UnsuitableHardware,
    ClientError,
    NodeApiProblem,
    SiteProblem,
    FolderInvalid,
    TooFewCases,
    EngineError,
    ImageInvalid,
    IntakeUnavailable,
    EvaluatorError,
    OSError,
)
"""What may go wrong at a site by nobody's mistake in this program."""
REMEDIES = {
    errno.ENOSPC: "free some space, then start it again: finished cases are kept",
    errno.EDQUOT: "free some space, or ask for a larger quota, then start it again: finished cases are kept",
    errno.EROFS: "make the disk writable, or name a folder on another one in ASSAY_SITE_FOLDER",
    errno.EEXIST: "name a folder in ASSAY_SITE_FOLDER; a file is in its place",
    errno.ENOTDIR: "name a folder in ASSAY_SITE_FOLDER; a file is in its place",
    errno.ENOENT: "check the path; ASSAY_SITE_FOLDER names the site's folder",
    errno.EACCES: "run it as the user who owns the file, or give this user the right",
    errno.EPERM: "run it as the user who owns the file, or give this user the right",
}


class SiteCommands(click.Group):
    """Shows what a person can act on."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click knows what to do with a closed pipe
        except TROUBLE as problem:
            raise click.ClickException(told(problem)) from problem


def told(problem: Exception) -> str:
    """The problem in words: what was found, what was expected, what to do."""
    if isinstance(problem, ClientError):
        first, *rest = problem.lines()
        return "\n".join([first, *(f"  {line}" for line in rest)])
    if isinstance(problem, OSError) and problem.strerror:
        named = isinstance(problem.filename, str | bytes)
        where = f"{os.fsdecode(problem.filename)}: {problem.strerror}" if named else problem.strerror
        remedy = REMEDIES.get(problem.errno or 0, "")
        return f"{where}\n  what to do: {remedy}" if remedy else where
    if isinstance(problem, EngineUnreachable):
        return f"{problem}\n  what to do: assay site doctor says what is wrong with the container engine"
    return str(problem)
