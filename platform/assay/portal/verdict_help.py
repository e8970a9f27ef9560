"""The verdicts as participants read them: what happened, what to do, and whether it costs an attempt."""

from dataclasses import dataclass

from django.utils.translation import gettext_noop as _


@dataclass(frozen=True, kw_only=True)
class VerdictHelp:
    """One row of the help page."""

    verdict: str
    meaning: str
    cure: str
    charged: str = _("yes")


VERDICT_HELP = (
    VerdictHelp(
        verdict="ok",
        meaning=_("The container ended by itself with exit code 0 and wrote what was asked for."),
        cure=_("Nothing."),
    ),
    VerdictHelp(
        verdict="cancelled",
        meaning=_("You or an organizer stopped it."),
        cure=_("Submit again when ready."),
        charged=_("only if a case had already run"),
    ),
    VerdictHelp(
        verdict="infrastructure",
        meaning=_("Something of ours broke: a node, the disk, the network."),
        cure=_("Nothing: it was tried again on another node. If it still failed, write to us."),
        charged=_("no"),
    ),
    VerdictHelp(
        verdict="reference_invalid",
        meaning=_("A reference of the test set cannot be used: the organizers' to mend, and they have been told."),
        cure=_("Submit again once they have corrected the test set."),
        charged=_("no"),
    ),
    VerdictHelp(
        verdict="metrics_failed",
        meaning=_("The organizers' own metrics failed: theirs to mend, and they have been told."),
        cure=_("Nothing: once they are mended, your submission can be scored without running again."),
        charged=_("no"),
    ),
    VerdictHelp(
        verdict="image_invalid",
        meaning=_("The archive is not a container image we can run; the reason stands beside it."),
        cure=_("Save the image again with `docker save NAME | gzip > image.tar.gz` for linux/amd64."),
        charged=_("no"),
    ),
    VerdictHelp(
        verdict="timeout",
        meaning=_("The container was still running when its time limit was reached, and was killed."),
        cure=_("Load less, batch less, or use a smaller model; `assay check` shows the seconds per case."),
    ),
    VerdictHelp(
        verdict="out_of_memory",
        meaning=_("The kernel killed one of its processes because the memory limit was reached."),
        cure=_("Free what you no longer need; the peak stands on the submission page."),
    ),
    VerdictHelp(
        verdict="output_too_large",
        meaning=_("The output folder was full: more bytes or more files than allowed."),
        cure=_("Write only the files asked for, compressed."),
    ),
    VerdictHelp(
        verdict="nonzero_exit",
        meaning=_("The program ended with an exit code other than 0."),
        cure=_("Run `assay check` on the training cases: you see the whole log there."),
    ),
    VerdictHelp(
        verdict="output_missing",
        meaning=_("The expected file was not in the output folder."),
        cure=_("Write exactly the file name on the Rules & data page; upper and lower case matter."),
    ),
    VerdictHelp(
        verdict="output_invalid",
        meaning=_("The file was there but could not be used: another grid, unknown labels, a damaged file."),
        cure=_("Save the label map on the input's own grid (shape, spacing, orientation), as integers."),
    ),
    VerdictHelp(
        verdict="unrun",
        meaning=_("Not started, because the same thing had gone wrong on three cases in a row."),
        cure=_("Mend the first failure."),
    ),
)
