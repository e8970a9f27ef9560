"""What a site is about to release: the draft, the file it lies in, and the names under which anything may leave. All of it stays here.

Every release is first written to a file, so that it can be approved later (`assay site release`), by somebody else, after a restart.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assay.node.folder import FolderCase
from assay.node.joining import write_config
from assay.node.local import LocalResult
from assay.node.review import SMALLEST_GROUP
from assay.node.site_problems import SiteProblem, read_kept
from containers.verdicts import Verdict
from evaluator.disclosure import Told, shown_groups

OTHER = "other"
HASH = "content_sha256"
AGAIN = "check the disk; then `assay site run` makes it anew from the finished cases"
FROM_BACKUP = "bring it back from a backup, because later results are held against it"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A finished evaluation before its release: the numbers that would leave, and the file they lie in.

    `document` is what would be signed. It is None for a site without a key, which sends `aggregates` alone.
    """

    path: Path
    evaluation_id: str
    fence: int
    submission: str
    aggregates: dict[str, Any]
    failures: dict[str, int | None]
    document: dict[str, Any] | None = None
    withheld: tuple[str, ...] = ()
    results: tuple[LocalResult, ...] = ()
    is_held: bool = False
    told: Mapping[str, Sequence[Told]] = field(default_factory=dict)
    """How the numbers divide the patients. It stays here."""
    approved_by: tuple[str, ...] = ()
    """Who approved it so far, where two people have to."""
    by_file: bool = False
    """Whether its order came on a stick, so that what is decided goes back on one."""

    def leaves(self) -> dict[str, Any]:
        """Everything that would leave, but for the signature."""
        return self.document or {"metrics": self.aggregates, "failures": self.failures}


def number_cases(cases: Sequence[FolderCase], *, everybody: Sequence[FolderCase]) -> list[FolderCase]:
    """The cases under numbers: no patient's name reaches a container. Rows of a table of references are found by their own names."""
    places = {case.case_id: place for place, case in enumerate(everybody, start=1)}
    return [replace(case, case_id=f"case-{places[case.case_id]:05d}", row=case.case_id) for case in cases]


def named(result: LocalResult, *, numbered: Mapping[str, str]) -> LocalResult:
    name = numbered[result.case_id]
    return replace(result, case_id=name, scores=replace(result.scores, case_id=name))


def regrouped(attributes: Mapping[str, str], *, groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Attributes under names that were agreed: what the organizers never named becomes `other`, so that no text of a patient leaves."""
    return {
        attribute: found if (found := attributes.get(attribute, "")) in names else OTHER
        for attribute, names in groups.items()
    }


def failures_of(results: Sequence[LocalResult]) -> dict[str, int | None]:
    """Verdict → how many cases ended so. A number of 1 to 4 patients does not leave, nor one that gives such a number away: None."""
    counted = Counter(str(result.verdict) for result in results if result.verdict is not Verdict.OK)
    shown = shown_groups(counted, smallest=SMALLEST_GROUP)
    return {verdict: count if verdict in shown else None for verdict, count in sorted(counted.items())}


def write_draft(draft: Draft) -> None:
    """Write a draft down, readable by its owner alone."""
    write_document(draft.path, text_of(draft))


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write the document of a draft with its hash."""
    write_config(path, json.dumps({**document, HASH: _hash_of(document)}, indent=2) + "\n")


def read_document(path: Path) -> dict[str, Any]:
    """The document of a draft. Raises SiteProblem where it is not what was written."""
    document = read_paper(path)
    if (hashed := document.pop(HASH, None)) and hashed != _hash_of(document):
        raise SiteProblem(
            f"{path} is not what was written: found another hash of its content. Nothing of it is sent. What to do: {AGAIN}"
        )
    return document


def read_paper(path: Path) -> dict[str, Any]:
    """A draft, or what was released, rejected or recalled. Raises SiteProblem where it cannot be read."""
    return read_kept(path, remedy=AGAIN if path.suffix == ".json" else FROM_BACKUP)


def _hash_of(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def text_of(draft: Draft) -> dict[str, Any]:
    return {
        "evaluation_id": draft.evaluation_id,
        "fence": draft.fence,
        "submission": draft.submission,
        "aggregates": draft.aggregates,
        "failures": draft.failures,
        "document": draft.document,
        "by_file": draft.by_file,
        "withheld": list(draft.withheld),
        "told": told_text(draft),
        "cases": [
            {"case": result.case_id, "verdict": str(result.verdict), "reason": result.reason, **result.scores.to_json()}
            for result in draft.results
        ],
    }


def told_text(draft: Draft) -> dict[str, Any]:
    return {metric: [one.to_json() for one in told] for metric, told in draft.told.items()}


def read_draft(path: Path) -> Draft:
    """A draft as it was written down. The results of its cases stay in the file: `read_cases`."""
    document = read_document(path)
    return Draft(
        path=path,
        evaluation_id=document["evaluation_id"],
        fence=document["fence"],
        submission=document["submission"],
        aggregates=document["aggregates"],
        failures=document.get("failures", {}),
        document=document.get("document"),
        withheld=tuple(document.get("withheld", ())),
        is_held=bool(document.get("is_held", False)),
        by_file=bool(document.get("by_file", False)),
        approved_by=tuple(document.get("approved_by", ())),
        told={metric: [Told.from_json(one) for one in told] for metric, told in document.get("told", {}).items()},
    )


def read_cases(path: Path) -> list[dict[str, Any]]:
    """Verdict and scores of every case of a draft, for the people of the site."""
    return list(read_document(path).get("cases", []))
