"""The desk behind the review page and the terminal: which drafts wait, their sheets, and what a decision does."""

from collections.abc import Sequence
from dataclasses import replace

from assay.client.errors import ClientError
from assay.node.http import NodeApiProblem
from assay.node.review_page import Waiting
from assay.node.review_sheet import ReviewSheet, clean_in_a_row, last_release, sheet_of
from assay.node.review_slices import CaseSlices
from assay.node.site import SiteAgent
from assay.node.site_drafts import Draft, read_cases
from assay.node.site_group import told
from assay.node.site_problems import SiteProblem
from assay.node.site_signing import decided_files

LONGEST_NAME = 80


def approvals(before: Sequence[str], *, by: str) -> list[str]:
    """Who has approved, each person once."""
    name = " ".join(by.split())[:LONGEST_NAME]
    known = {one.casefold() for one in before}
    return [*before, name] if name and name.casefold() not in known else list(before)


class SiteDesk:
    """The drafts of one site."""

    def __init__(self, agent: SiteAgent, *, title: str) -> None:
        self._agent = agent
        self._looked_at: tuple[tuple[str, int, str], CaseSlices] | None = None
        self.title = title

    def waiting(self) -> Sequence[Waiting]:
        """The drafts that wait for a decision, held ones last."""
        found = []
        for draft in self._agent.drafts():
            cases = read_cases(draft.path)
            found.append(
                Waiting(
                    key=draft.evaluation_id,
                    submission=draft.submission,
                    case_count=len(cases),
                    failed=sum(case["verdict"] != "ok" for case in cases),
                    is_held=draft.is_held,
                )
            )
        return sorted(found, key=lambda draft: (draft.is_held, draft.submission))

    def sheet(self, key: str) -> tuple[str, ReviewSheet] | None:
        """The submission and the sheet of one draft. None where nothing of that key waits."""
        draft = self._find(key)
        return None if draft is None else (draft.submission, self.sheet_of(draft))

    def slices(self, key: str, *, place: int, input_name: str) -> CaseSlices | None:
        """The pictures of one case of a draft. None where there is no such case. The last one is kept: its volumes are read."""
        asked = (key, place, input_name)
        if self._looked_at is not None and self._looked_at[0] == asked:
            return self._looked_at[1]
        draft = self._find(key)
        cases = read_cases(draft.path) if draft is not None else []
        if draft is None or not 0 <= place < len(cases):
            return None
        files = self._agent.files_of(draft, case_id=str(cases[place]["case"]))
        slices = CaseSlices(replace(files, is_last=place + 1 == len(cases)), input_name=input_name)
        self._looked_at = (asked, slices)
        return slices

    def sheet_of(self, draft: Draft) -> ReviewSheet:
        """What there is to look at."""
        root = (draft.document or {}).get("data_root", "")
        read = [path for path in decided_files(self._agent.folder) if path.suffix != ".declined"]  # recalled ones too
        papers = [path.read_text() for path in read] if root else []
        last, count = last_release(papers, data_root=root)
        return sheet_of(
            draft.leaves(), withheld=draft.withheld, cases=read_cases(draft.path), last=last, releases_before=count
        )

    @property
    def reviewers(self) -> int:
        """How many different people have to approve a result, by the terms."""
        return self._agent.terms_say("reviewers", 1)

    def is_automatic(self, draft: Draft) -> bool:
        """Whether the terms let this one go without asking: it is clean, and so were enough before it, one after the other."""
        wanted = self._agent.terms_say("automatic_after", 0)
        if not wanted or not self.sheet_of(draft).is_clean:
            return False
        return clean_in_a_row([path.read_text() for path in decided_files(self._agent.folder)]) >= wanted

    def decide(self, key: str, *, action: str, reason: str, by: str = "") -> str:
        """Approve, reject or hold one draft. Returns a sentence. `by`: who approves, where two people have to."""
        draft = self._find(key)
        if draft is None:
            return "There is no such draft. It may have been decided meanwhile."
        reason = " ".join(reason.split())
        try:
            if action == "approve":
                names = approvals(draft.approved_by, by=by)
                if self.reviewers > 1 and len(names) < self.reviewers:
                    return self._note(draft, names)
                self._agent.release(draft, is_clean=self.sheet_of(draft).is_clean)
                if draft.by_file:
                    return f"Submission {draft.submission} is signed. Carry the file in {self._agent.outbox} to the organizers."
                return f"Submission {draft.submission} is sent. A copy with the server's receipt is in releases/."
            if action == "reject" and reason:
                self._agent.decline(draft, reason=reason)
                if draft.by_file:
                    return f"Submission {draft.submission} is rejected. Carry the file in {self._agent.outbox} to the organizers."
                return f"Submission {draft.submission} is rejected. The organizers were told why."
            if action == "hold":
                self._agent.hold(draft)
                return f"Submission {draft.submission} is held. Nothing was sent."
        except (ClientError, NodeApiProblem, SiteProblem) as problem:
            return f"Nothing has changed here: {told(problem)}"
        except OSError as problem:
            return f"This did not come to its end, and may be done again: {told(problem)}"
        return "Nothing was decided: a rejection needs a reason."

    def _note(self, draft: Draft, names: Sequence[str]) -> str:
        if len(names) == len(draft.approved_by):
            return "Nothing was decided: your name is missing, or you approved this before. Another person has to approve it too."
        self._agent.keep_approvals(draft, names)
        return f"Noted: {', '.join(names)} approved submission {draft.submission}. Nothing was sent: another person has to approve it too."

    def _find(self, key: str) -> Draft | None:
        return next((draft for draft in self._agent.drafts() if draft.evaluation_id == key), None)
