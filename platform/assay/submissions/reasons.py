"""Why a submission ended, and why a case failed: the one catalogue of codes, of the facts each needs, and of their sentences.

Rows hold `(verdict, reason, facts)`. `reason` is a code of this module, `facts` a small JSON object with exactly the keys that the
sentence uses, and the sentence is made where it is shown, in the reader's language. Nothing is decided by a sentence.
Rows stored before there were codes keep the sentence they had.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from containers.verdicts import Verdict

Fact: TypeAlias = str | int | float
LONGEST_FACT = 300


class Reason(StrEnum):
    """Why a submission ended as it did."""

    CANCELLED = "cancelled"
    CANCELLED_UNRUN = "cancelled_unrun"
    PUBLISHED_TABLE = "published_table"
    # faults of ours and of the organizers
    PLATFORM_FAULT = "platform_fault"
    CHECK_FAULT = "check_fault"
    SCORING_FAULT = "scoring_fault"
    REFERENCE_INVALID = "reference_invalid"
    REFERENCE_INVALID_IN_SCORING = "reference_invalid_in_scoring"
    METRICS_FAILED = "metrics_failed"
    METRICS_FAILED_IN_SCORING = "metrics_failed_in_scoring"
    # what was uploaded
    BUILD_FAULT = "build_fault"
    IMAGE_REFUSED = "image_refused"
    IMAGE_DELETED = "image_deleted"
    UPLOAD_GONE = "upload_gone"
    NO_COMMAND = "no_command"
    ENTRY_POINT = "entry_point"
    IMAGE_USER = "image_user"
    SAME_IMAGE = "same_image"
    NOT_A_ZIP = "not_a_zip"
    ZIP_TOO_LONG = "zip_too_long"
    ZIP_DAMAGED = "zip_damaged"
    NAME_TWICE = "name_twice"
    NO_EXPECTED_FILE = "no_expected_file"
    # what an algorithm did
    IMAGE_NOT_STARTED = "image_not_started"
    TIME_LIMIT = "time_limit"
    TIME_LIMIT_PER_CASE = "time_limit_per_case"
    TIME_LIMIT_PER_STRUCTURE = "time_limit_per_structure"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    PROGRAM_ERROR = "program_error"
    OUTPUT_MISSING = "output_missing"
    OUTPUT_INVALID = "output_invalid"
    UNRUN = "unrun"
    # what handed-in predictions lack
    CASES_FAILED = "cases_failed"


SENTENCES: Mapping[Reason, str | Promise] = {
    Reason.CANCELLED: _("cancelled"),
    Reason.CANCELLED_UNRUN: _("cancelled before it ran; this attempt was not charged"),
    Reason.PUBLISHED_TABLE: _("copied from a published table; nothing ran here"),
    Reason.PLATFORM_FAULT: _("a fault of ours kept it from running; this attempt was not charged"),
    Reason.CHECK_FAULT: _("the upload could not be checked by a fault of ours; this attempt was not charged"),
    Reason.SCORING_FAULT: _("scoring failed by a fault of ours; this attempt was not charged"),
    Reason.REFERENCE_INVALID: _("a reference of the test set cannot be used; this attempt was not charged"),
    Reason.REFERENCE_INVALID_IN_SCORING: _(
        "a reference of the test set cannot be used; the organizers are told, and this attempt was not charged"
    ),
    Reason.METRICS_FAILED: _("the organizers' own metrics failed; this attempt was not charged"),
    Reason.METRICS_FAILED_IN_SCORING: _(
        "the organizers' own metrics failed; they are told, and this attempt was not charged"
    ),
    # Translators: the detail is what the worker that builds says, in English.
    Reason.BUILD_FAULT: _(
        "your code could not be built by a fault of the organizers: %(detail)s; this attempt was not charged"
    ),
    # Translators: the detail is what the image's inspection says, in English.
    Reason.IMAGE_REFUSED: _("%(detail)s"),
    Reason.IMAGE_DELETED: _("the image was deleted; upload it again"),
    Reason.UPLOAD_GONE: _("the upload is gone; upload the image again"),
    Reason.NO_COMMAND: _(
        "the image has neither ENTRYPOINT nor CMD, and this phase sets no command: add one to the Dockerfile"
    ),
    # Translators: the detail is what the image's inspection says, in English.
    Reason.ENTRY_POINT: _("the image's program cannot be started: %(detail)s"),
    # Translators: the detail is what the image's inspection says, in English.
    Reason.IMAGE_USER: _("this phase runs an image as its own USER, and %(detail)s"),
    Reason.SAME_IMAGE: _(
        "other teams have submitted this very image, and this phase counts that: all attempts for it are used. "
        "This one was not charged"
    ),
    Reason.NOT_A_ZIP: _("the upload is not a zip archive; expected one zip with a file per case"),
    Reason.ZIP_TOO_LONG: _("the zip holds %(found)s files; expected at most %(most)s"),
    Reason.ZIP_DAMAGED: _("a file of the zip cannot be unpacked; expected an undamaged, unencrypted zip"),
    Reason.NAME_TWICE: _("the zip holds %(name)s twice; expected each file once"),
    Reason.NO_EXPECTED_FILE: _("the zip holds none of the expected files; expected %(expected)s, found %(found)s"),
    Reason.IMAGE_NOT_STARTED: _("the image could not be started"),
    Reason.TIME_LIMIT: _("time limit of %(seconds)s s reached"),
    Reason.TIME_LIMIT_PER_CASE: _("time limit of %(seconds)s s per case reached"),
    Reason.TIME_LIMIT_PER_STRUCTURE: _("time limit of %(seconds)s s per structure reached"),
    Reason.MEMORY_LIMIT: _("memory limit of %(gib)s GiB reached"),
    Reason.OUTPUT_LIMIT: _("more than %(mib)s MiB written to /output"),
    Reason.PROGRAM_ERROR: _("the program ended with an error"),
    Reason.OUTPUT_MISSING: _("an expected output file was not written"),
    Reason.OUTPUT_INVALID: _("an output file does not follow the format"),
    Reason.UNRUN: _("not run"),
    Reason.CASES_FAILED: _("%(failed)s of %(total)s cases failed: %(case_reason)s"),
}
"""Reason → its sentence."""

FOR_ORGANIZERS: Mapping[str, str | Promise] = {
    Reason.PLATFORM_FAULT: _("a fault of ours kept it from running"),
    Reason.CHECK_FAULT: _("the upload could not be checked, by a fault of ours"),
    Reason.SCORING_FAULT: _("scoring failed, by a fault of ours"),
    Reason.REFERENCE_INVALID: _("a reference of its test set cannot be used"),
    Reason.REFERENCE_INVALID_IN_SCORING: _("a reference of its test set cannot be used"),
    Reason.METRICS_FAILED: _("your own metric image failed"),
    Reason.METRICS_FAILED_IN_SCORING: _("your own metric image failed"),
    # Translators: the detail is what the worker that builds says, in English.
    Reason.BUILD_FAULT: _("its code could not be built from your base image and wheels: %(detail)s"),
}
"""What no team is at fault for, as those read it who have to act. The others have the team's sentence."""

CLAUSES: Mapping[frozenset[str], str | Promise] = {
    frozenset({"case_reason"}): _("%(cause)s (%(case_reason)s)"),
    frozenset({"in_a_row"}): _("%(cause)s on %(in_a_row)s cases in a row"),
    frozenset({"failed", "total"}): _("%(cause)s; %(failed)s of %(total)s cases failed"),
}
"""What may be added to the sentence of something an algorithm did, by the facts that say it, in this order."""

OF_ALGORITHMS = frozenset(
    {
        Reason.IMAGE_NOT_STARTED, Reason.TIME_LIMIT, Reason.TIME_LIMIT_PER_CASE, Reason.TIME_LIMIT_PER_STRUCTURE,
        Reason.MEMORY_LIMIT, Reason.OUTPUT_LIMIT, Reason.PROGRAM_ERROR, Reason.OUTPUT_MISSING, Reason.OUTPUT_INVALID, Reason.UNRUN,
    }
)  # fmt: skip
"""The reasons that clauses may be added to."""

FACTS: Mapping[Reason, Mapping[str, type]] = {
    Reason.BUILD_FAULT: {"detail": str},
    Reason.IMAGE_REFUSED: {"detail": str},
    Reason.ENTRY_POINT: {"detail": str},
    Reason.IMAGE_USER: {"detail": str},
    Reason.NAME_TWICE: {"name": str},
    Reason.ZIP_TOO_LONG: {"found": int, "most": int},
    Reason.NO_EXPECTED_FILE: {"expected": str, "found": str},
    Reason.TIME_LIMIT: {"seconds": float},
    Reason.TIME_LIMIT_PER_CASE: {"seconds": float},
    Reason.TIME_LIMIT_PER_STRUCTURE: {"seconds": float},
    Reason.MEMORY_LIMIT: {"gib": float},
    Reason.OUTPUT_LIMIT: {"mib": float},
    Reason.CASES_FAILED: {"failed": int, "total": int, "case_reason": str},
}
"""Reason → the facts it must have. One that is not listed has none."""

OF_CLAUSES: Mapping[str, type] = {"case_reason": str, "in_a_row": int, "failed": int, "total": int}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is stored of why a submission ended. Raises ValueError where the facts are not those of the reason."""

    reason: Reason | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.reason is None:
            if self.facts:
                raise ValueError(f"found the facts {sorted(self.facts)} without a reason; expected none")
            return
        needed = FACTS.get(self.reason, {})
        allowed = {**needed, **(OF_CLAUSES if self.reason in OF_ALGORITHMS else {})}
        odd = (set(needed) - set(self.facts)) | (set(self.facts) - set(allowed))
        if odd or ("failed" in self.facts) != ("total" in self.facts):
            raise ValueError(
                f"{self.reason}: found the facts {sorted(self.facts)}; expected {sorted(needed)} and of {sorted(allowed)}"
            )
        for name, value in self.facts.items():
            kinds = (int, float) if allowed[name] is float else (allowed[name],)
            if type(value) not in kinds or len(str(value)) > LONGEST_FACT:
                raise ValueError(
                    f"{self.reason}: found {str(value)[:40]!r} as {name}; expected {allowed[name].__name__}"
                )


def sentence(reason: str, facts: Mapping[str, Any]) -> str:
    """The sentence of a stored row, in the reader's language. The code itself where a newer Assay wrote it."""
    try:
        known = Reason(reason)
        shown = {name: _shown(name, value) for name, value in facts.items()}
        text = str(SENTENCES[known]) % shown
        if known in OF_ALGORITHMS:
            for needed, clause in CLAUSES.items():
                if needed <= set(shown):
                    text = str(clause) % {**shown, "cause": text}
    except (ValueError, KeyError, TypeError):
        return reason.replace("_", " ")
    return text


def words_for_organizers(reason: str, facts: Mapping[str, Any]) -> str:
    """The sentence of a stored row for the people who run the challenge."""
    own = FOR_ORGANIZERS.get(reason)
    try:
        return str(own) % facts if own is not None else sentence(reason, facts)
    except (KeyError, ValueError, TypeError):
        return sentence(reason, facts)


def told_of(verdict: str, *, resources: Mapping[str, Any], **more: Fact) -> Told:
    """What a verdict alone says: a closed vocabulary, limits, nothing of the test set, no exit code.

    `more`: facts of the clauses. `resources`: the limits frozen on the submission.
    """
    reason, facts = _of_verdict(Verdict(verdict), resources)
    return Told(reason=reason, facts={**facts, **more})


def _of_verdict(verdict: Verdict, resources: Mapping[str, Any]) -> tuple[Reason | None, dict[str, Fact]]:
    match verdict:
        case Verdict.TIMEOUT:
            per = {"case": Reason.TIME_LIMIT_PER_CASE, "label": Reason.TIME_LIMIT_PER_STRUCTURE}
            reason = per.get(resources.get("wall_seconds_per", "run"), Reason.TIME_LIMIT)
            return reason, {"seconds": resources.get("wall_seconds", 0)}
        case Verdict.OUT_OF_MEMORY:
            return Reason.MEMORY_LIMIT, {"gib": resources.get("memory_mb", 0) / 1024}
        case Verdict.OUTPUT_TOO_LARGE:
            return Reason.OUTPUT_LIMIT, {"mib": resources.get("output_mb", 0)}
        case _:
            return WITHOUT_FACTS.get(verdict), {}


WITHOUT_FACTS: Mapping[Verdict, Reason] = {
    Verdict.CANCELLED: Reason.CANCELLED,
    Verdict.INFRASTRUCTURE: Reason.PLATFORM_FAULT,
    Verdict.REFERENCE_INVALID: Reason.REFERENCE_INVALID,
    Verdict.METRICS_FAILED: Reason.METRICS_FAILED,
    Verdict.IMAGE_INVALID: Reason.IMAGE_NOT_STARTED,
    Verdict.NONZERO_EXIT: Reason.PROGRAM_ERROR,
    Verdict.OUTPUT_MISSING: Reason.OUTPUT_MISSING,
    Verdict.OUTPUT_INVALID: Reason.OUTPUT_INVALID,
    Verdict.UNRUN: Reason.UNRUN,
}


def _shown(name: str, value: Any) -> str:
    if name == "case_reason":
        return case_reason_words(str(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def case_reason_words(reason: str) -> str:
    """Why a case failed, in a few words. A code that is not listed is shown as it is, without underscores."""
    words = CASE_REASONS.get(reason)
    return gettext(words) if words else reason.replace("_", " ")


CASE_REASONS: Mapping[str, str] = {
    # of containers.verdicts.Reason
    "engine_unreachable": gettext_noop("engine unreachable"),
    "engine_refused": gettext_noop("engine refused"),
    "engine_restarted": gettext_noop("engine restarted"),
    "image_absent": gettext_noop("image absent"),
    "name_taken": gettext_noop("name taken"),
    "container_stuck": gettext_noop("container stuck"),
    "scratch_failed": gettext_noop("scratch failed"),
    "disk_full": gettext_noop("disk full"),
    "measurement_gap": gettext_noop("measurement gap"),
    "machine_busy": gettext_noop("other programs used the processors"),
    "entry_point_not_runnable": gettext_noop(
        "its program or the interpreter of its script is missing or not executable"
    ),
    "mount_point_blocked": gettext_noop("mount point blocked"),
    "working_dir_too_large": gettext_noop("working dir too large"),
    "user_unknown": gettext_noop("user unknown"),
    "time_limit": gettext_noop("time limit"),
    "memory_limit": gettext_noop("memory limit"),
    "child_killed_for_memory": gettext_noop("child killed for memory"),
    "bytes_limit": gettext_noop("bytes limit"),
    "files_limit": gettext_noop("files limit"),
    "file_too_large": gettext_noop("file too large"),
    "missing": gettext_noop("missing"),
    "symlink": gettext_noop("symlink"),
    "not_one_file": gettext_noop("not exactly one file"),
    "hard_link": gettext_noop("hard link"),
    "not_a_file": gettext_noop("not a file"),
    "unreadable": gettext_noop("unreadable"),
    "changed_while_read": gettext_noop("changed while read"),
    # of evaluator.errors.Reason
    "not_a_regular_file": gettext_noop("not a regular file"),
    "too_large": gettext_noop("too large"),
    "format_unsupported": gettext_noop("format unsupported"),
    "gzip_corrupt": gettext_noop("gzip corrupt"),
    "truncated": gettext_noop("truncated"),
    "trailing_data": gettext_noop("trailing data"),
    "header_invalid": gettext_noop("header invalid"),
    "external_data": gettext_noop("external data"),
    "dimensions_invalid": gettext_noop("dimensions invalid"),
    "data_type_unsupported": gettext_noop("data type unsupported"),
    "scaled": gettext_noop("scaled"),
    "spacing_invalid": gettext_noop("spacing invalid"),
    "affine_invalid": gettext_noop("affine invalid"),
    "not_finite": gettext_noop("not finite"),
    "not_integral": gettext_noop("not integral"),
    "label_unknown": gettext_noop("label unknown"),
    "shape_mismatch": gettext_noop("shape mismatch"),
    "spacing_mismatch": gettext_noop("spacing mismatch"),
    "affine_mismatch": gettext_noop("affine mismatch"),
    "too_fragmented": gettext_noop("too fragmented"),
    "table_invalid": gettext_noop("table invalid"),
    "table_columns": gettext_noop("table columns"),
    "document_invalid": gettext_noop("document invalid"),
    "table_rows": gettext_noop("table rows"),
    "reader_limit": gettext_noop("reader limit"),
    "row_missing": gettext_noop("row missing"),
    "other_ending": gettext_noop("a file of that name has another ending"),
    # why a case run went back in the line, or was never run
    "node_api": gettext_noop("the node lost contact"),
    "image_busy": gettext_noop("image busy"),
    "node_stopping": gettext_noop("node stopping"),
    "image_reloaded": gettext_noop("image reloaded"),
    "node_restarted": gettext_noop("node restarted"),
    "lease_expired": gettext_noop("lease expired"),
    "operator": gettext_noop("released by an operator"),
}
"""A case's reason → its words."""
