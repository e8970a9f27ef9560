"""What an evaluation at a site has done so far, one line per case, so that a machine that was switched off goes on with the next one.

The file stays at the site. Each line carries its hash. A line that was cut off by a power failure, or that a bad disk changed, is left out,
and its case runs again. A file about another image, other rules or other data is begun anew.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.node.local import LocalResult
from containers.spec import Usage
from containers.verdicts import Verdict
from evaluator.results import CaseResult


class Progress:
    """One evaluation's file. `about` says what it is about."""

    def __init__(self, path: Path, *, about: Mapping[str, str]) -> None:
        self._path = path
        self._about = dict(about)

    def read(self) -> list[LocalResult]:
        """The cases that are done. Usage and logs of earlier runs are not kept."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        documents = list(_whole_lines(lines))
        if not documents or documents[0] != self._about:
            self._path.unlink()
            return []
        return [_result(document) for document in documents[1:]]

    def add(self, result: LocalResult) -> None:
        """Write a case down, and have the disk keep it."""
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
            file.seek(0, os.SEEK_END)
            if is_new:
                file.write(_line(self._about))
            elif _ends_torn(self._path):
                file.write("\n")
            document = {
                "verdict": str(result.verdict),
                "reason": result.reason,
                "scores": result.scores.to_json(),
            }
            file.write(_line(document))
            file.flush()
            os.fsync(file.fileno())


def _ends_torn(path: Path) -> bool:
    content = path.read_bytes()
    return bool(content) and not content.endswith(b"\n")


def _line(document: Mapping[str, Any]) -> str:
    text = json.dumps(document)
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n"


def _whole_lines(lines: list[str]) -> list[dict[str, Any]]:
    pairs = [line.partition(" ") for line in lines]
    return [json.loads(text) for said, _, text in pairs if said == hashlib.sha256(text.encode()).hexdigest()]


def _result(document: Mapping[str, Any]) -> LocalResult:
    scores = CaseResult.from_json(document["scores"])
    return LocalResult(
        case_id=scores.case_id,
        verdict=Verdict(document["verdict"]),
        reason=document["reason"],
        usage=Usage(),
        scores=scores,
        log=b"",
    )
