"""The verdicts as participants read them: what happened, what to do, and whether it costs an attempt."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class VerdictHelp:
    """One row of the help page."""

    verdict: str
    meaning: str
    cure: str
    charged: str = "yes"


VERDICT_HELP = (
    VerdictHelp(
        verdict="ok",
        meaning="The container ended by itself with exit code 0 and wrote what was asked for.",
        cure="Nothing.",
    ),
    VerdictHelp(
        verdict="cancelled",
        meaning="You or an organizer stopped it.",
        cure="Submit again when ready.",
        charged="only if a case had already run",
    ),
    VerdictHelp(
        verdict="infrastructure",
        meaning="Something of ours broke: a node, the disk, the network.",
        cure="Nothing: it was tried again on another node. If it still failed, write to us.",
        charged="no",
    ),
    VerdictHelp(
        verdict="reference_invalid",
        meaning="A reference of the test set cannot be used: the organizers' to mend, and they have been told.",
        cure="Submit again once they have corrected the test set.",
        charged="no",
    ),
    VerdictHelp(
        verdict="metrics_failed",
        meaning="The organizers' own metrics failed: theirs to mend, and they have been told.",
        cure="Nothing: once they are mended, your submission can be scored without running again.",
        charged="no",
    ),
    VerdictHelp(
        verdict="image_invalid",
        meaning="The archive is not a container image we can run; the reason stands beside it.",
        cure="Save the image again with `docker save NAME | gzip > image.tar.gz` for linux/amd64.",
        charged="no",
    ),
    VerdictHelp(
        verdict="timeout",
        meaning="The container was still running when its time limit was reached, and was killed.",
        cure="Load less, batch less, or use a smaller model; `assay check` shows the seconds per case.",
    ),
    VerdictHelp(
        verdict="out_of_memory",
        meaning="The kernel killed one of its processes because the memory limit was reached.",
        cure="Free what you no longer need; the peak stands on the submission page.",
    ),
    VerdictHelp(
        verdict="output_too_large",
        meaning="The output folder was full: more bytes or more files than allowed.",
        cure="Write only the files asked for, compressed.",
    ),
    VerdictHelp(
        verdict="nonzero_exit",
        meaning="The program ended with an exit code other than 0.",
        cure="Run `assay check` on the training cases: you see the whole log there.",
    ),
    VerdictHelp(
        verdict="output_missing",
        meaning="The expected file was not in the output folder.",
        cure="Write exactly the file name on the Rules & data page; upper and lower case matter.",
    ),
    VerdictHelp(
        verdict="output_invalid",
        meaning="The file was there but could not be used: another grid, unknown labels, a damaged file.",
        cure="Save the label map on the input's own grid (shape, spacing, orientation), as integers.",
    ),
    VerdictHelp(
        verdict="unrun",
        meaning="Not started, because the same thing had gone wrong on three cases in a row.",
        cure="Mend the first failure.",
    ),
)
