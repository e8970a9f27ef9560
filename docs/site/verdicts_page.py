"""`participants/verdicts.md`: every verdict, from `containers.verdicts` and the portal's own help texts."""

from collections.abc import Iterator

from markdown_text import code, table

from assay.portal.verdict_help import VERDICT_HELP, VerdictHelp
from containers.verdicts import Fault, Reason, Verdict

PLACE = "participants/verdicts.md"
FAULTS = {
    Fault.NONE: "nobody's",
    Fault.PARTICIPANT: "the participant's",
    Fault.ORGANIZER: "the organizers'",
    Fault.PLATFORM: "the platform's",
}
REASONS = {
    Reason.ENGINE_UNREACHABLE: "The container engine of the node did not answer.",
    Reason.ENGINE_REFUSED: "The container engine of the node refused an order.",
    Reason.ENGINE_RESTARTED: "The container engine was restarted while the container ran.",
    Reason.IMAGE_ABSENT: "The node could not load the image.",
    Reason.NAME_TAKEN: "Another container of the node still had the name of this run.",
    Reason.CONTAINER_STUCK: "The container could not be stopped or removed.",
    Reason.SCRATCH_FAILED: "The node could not prepare its working folders.",
    Reason.DISK_FULL: "The disk of the node was full.",
    Reason.MEASUREMENT_GAP: "The node lost sight of the container, so its time or memory is not known.",
    Reason.MACHINE_BUSY: "The time limit was reached, and for more than a quarter of it other programs of the node used the processors.",
    Reason.ENTRY_POINT_NOT_RUNNABLE: "The program named by `ENTRYPOINT` or `CMD` does not exist in the image, is not executable, or is "
    "made for another processor.",
    Reason.MOUNT_POINT_BLOCKED: "The image has a file where `/input`, `/output` or `/tmp` has to be mounted. Remove it from the image.",
    Reason.WORKING_DIR_TOO_LARGE: "`legacy` and `image-user` copy the working directory; this one is too large. Keep weights elsewhere.",
    Reason.USER_UNKNOWN: "The profile `image-user` runs an image as its own USER, and this USER is not in the image's /etc/passwd.",
    Reason.TIME_LIMIT: "The time limit was reached.",
    Reason.MEMORY_LIMIT: "The main program was killed because the memory limit was reached.",
    Reason.CHILD_KILLED_FOR_MEMORY: "A child process was killed because the memory limit was reached. "
    "The main program ended with exit code 0. With PyTorch, reduce the number of data loader workers.",
    Reason.BYTES_LIMIT: "`/output` held more bytes than allowed.",
    Reason.FILES_LIMIT: "`/output` held more files than allowed.",
    Reason.FILE_TOO_LARGE: "One expected file was larger than allowed.",
    Reason.MISSING: "An expected file was not there.",
    Reason.SYMLINK: "The file was a symbolic link. Write a regular file.",
    Reason.HARD_LINK: "The file was a hard link. Write a file of its own.",
    Reason.NOT_A_FILE: "There was a folder, a pipe or a device under the expected name.",
    Reason.NOT_ONE_FILE: "The folder held several files of the expected kind. Write one.",
    Reason.UNREADABLE: "The file could not be read.",
    Reason.CHANGED_WHILE_READ: "The file changed while it was read. End every process before the main program ends.",
}
BELONGS = {
    Verdict.INFRASTRUCTURE: tuple(Reason)[1:11],
    Verdict.IMAGE_INVALID: (
        Reason.ENTRY_POINT_NOT_RUNNABLE,
        Reason.MOUNT_POINT_BLOCKED,
        Reason.WORKING_DIR_TOO_LARGE,
        Reason.USER_UNKNOWN,
    ),
    Verdict.TIMEOUT: (Reason.TIME_LIMIT,),
    Verdict.OUT_OF_MEMORY: (Reason.MEMORY_LIMIT, Reason.CHILD_KILLED_FOR_MEMORY),
    Verdict.OUTPUT_TOO_LARGE: (Reason.BYTES_LIMIT, Reason.FILES_LIMIT, Reason.FILE_TOO_LARGE),
    Verdict.OUTPUT_MISSING: (Reason.MISSING,),
    Verdict.OUTPUT_INVALID: (
        Reason.SYMLINK,
        Reason.HARD_LINK,
        Reason.NOT_A_FILE,
        Reason.NOT_ONE_FILE,
        Reason.UNREADABLE,
        Reason.CHANGED_WHILE_READ,
    ),
}
OPENING = """# Verdicts

Every case run ends with one verdict from the list below. A verdict says why the run ended, whose fault it was, and whether Assay
tries again by itself. You find it on the page of your submission, in `assay status`, and in the API.

When several causes hold at once, the verdict that stands first in this list wins. A run that was cancelled and was also out of time is
`cancelled`.

:::{note}
Exit code 137 only says that a process was killed. It does not say why. Assay reports `out_of_memory` when the kernel recorded that
it killed a process for memory, and `timeout` when Assay killed the container at the deadline.
:::
"""


def pages() -> Iterator[tuple[str, str]]:
    """The one page."""
    helps = {row.verdict: row for row in VERDICT_HELP}
    rows = [
        (
            f"[`{verdict}`](#{verdict})",
            FAULTS[verdict.fault],
            "yes" if verdict.is_retried else "no",
            str(helps[verdict].charged),
        )
        for verdict in Verdict
    ]
    overview = table(("verdict", "whose fault", "tried again", "counts against your submission limit"), rows)
    sections = [_section(verdict, helps[verdict]) for verdict in Verdict]
    yield PLACE, "\n\n".join([OPENING, overview, *sections]) + "\n"


def _section(verdict: Verdict, advice: VerdictHelp) -> str:
    lines = [f"## {verdict}", f"{advice.meaning}", f"**What to do.** {advice.cure}"]
    if verdict in BELONGS:
        lines.append(
            table(("reason", "what happened"), [(code(reason), REASONS[reason]) for reason in BELONGS[verdict]])
        )
    return "\n\n".join(lines)
