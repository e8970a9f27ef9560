"""The agent of an evaluation site: it polls, runs a submission on data that never leaves, and releases what a person approved.

Outbound HTTPS only. What is sent: the data's root hash and case count, heartbeats, and approved releases. Every release is
first written to a file, so that it can be approved later (`assay site release`), by somebody else, after a restart.

A site that joined with a key takes orders only that the server signed with the key it showed when the site joined, under terms that
the site signed. What leaves is signed here. Every finished case is written down at once, so that a machine that was switched off goes
on with the next case. Nothing of that leaves: scores of cases, logs and drafts lie in the site's folder.
"""

import fcntl
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from assay.client.errors import RefusedError
from assay.client.http import Connection
from assay.leases import LeaseLost, LeaseRenewal
from assay.node.folder import NOT_IN_A_NAME, FolderCase
from assay.node.http import NodeApi
from assay.node.joining import write_config
from assay.node.local import LocalResult, Workbench, run_cases
from assay.node.orders import FileOrder
from assay.node.registry import DataRegistration, case_key
from assay.node.review import SMALLEST_GROUP, build_release
from assay.node.site_data import SiteData
from assay.node.site_progress import Progress
from assay.node.site_signing import SiteSigner
from assay.signatures import document_hash
from containers.engines import Engine
from containers.intake import load_archive
from containers.machine import borrowed_image
from containers.sandbox import remove_leftovers, sweep
from containers.verdicts import Verdict
from evaluator import __version__ as evaluator_version
from evaluator.disclosure import Told, shown_groups
from evaluator.protocol import Protocol, load_protocol

OTHER = "other"
RELEASE, RECALL = "assay-site-release", "assay-site-recall"
TOLD_IN = (".json", ".released", ".recalled")
"""Papers whose numbers others have read, or may read."""


class SiteProblem(Exception):
    """The site cannot go on. The text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class SiteOrder:
    """One submission to evaluate. `signed` is the server's signed order. A site without a key gets none."""

    evaluation_id: str
    fence: int
    lease_seconds: float
    submission: str
    root_sha256: str
    protocol: Mapping[str, Any]
    image_id: str
    image: FileOrder
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Attribute → names of groups that may stand in a release."""
    signed: Mapping[str, Any] | None = None


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

    def leaves(self) -> dict[str, Any]:
        """Everything that would leave, but for the signature."""
        return self.document or {"metrics": self.aggregates, "failures": self.failures}


class SiteAgent:
    """Works for one site on one folder of cases."""

    def __init__(
        self,
        *,
        connection: Connection,
        api: NodeApi,
        data: SiteData | None,
        secret: bytes,
        folder: Path,
        engine: Engine | None,
        owner: str,
        signer: SiteSigner | None = None,
    ) -> None:
        self._connection = connection
        self._api = api
        self._given = data
        self._secret = secret
        self._folder = self.folder = folder
        self._engine = engine
        self._owner = owner
        self._signer = signer

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work as the only program in this folder, after removing what a killed one left: containers, mounts, scans in scratch."""
        with (_made(self._folder) / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SiteProblem(
                    f"another `assay site run` works in {self._folder}: see systemctl status assay-site"
                ) from None
            remove_leftovers(self._opened(), owner=self._owner, keep=set())
            sweep(self._scratch())
            for left in self._scratch().glob("case-*"):
                shutil.rmtree(left)
            yield

    def register(self) -> DataRegistration:
        """Hash the data, and tell the server the root and the number of cases."""
        registration = self._examine()
        self._connection.post(
            "site/datasets", {"root_sha256": registration.root_sha256, "case_count": registration.case_count}
        )
        return registration

    def claim(self, registration: DataRegistration, *, skip: Sequence[str] = ()) -> SiteOrder | None:
        """The next submission, or None. `skip`: evaluations that this machine could not do now. Others go first.

        Refuses to score with another evaluator than the server's.
        """
        agent = self._signer.agent if self._signer else ""
        wish = {"root_sha256": registration.root_sha256, "agent": agent, "skip": list(skip)}
        answer = self._connection.post("site/claim", wish)
        if not answer:
            return None
        if answer["evaluator_version"] != evaluator_version:
            raise SiteProblem(
                f"the server scores with evaluator {answer['evaluator_version']}, this agent with {evaluator_version}; "
                "install the server's version"
            )
        image = answer["image"]
        return SiteOrder(
            evaluation_id=answer["evaluation_id"],
            fence=answer["fence"],
            lease_seconds=answer["lease_seconds"],
            submission=answer["submission"],
            root_sha256=answer["root_sha256"],
            protocol=answer["protocol"],
            image_id=image["image_id"],
            image=FileOrder(path="image.tar", sha256=image["sha256"], bytes=image["bytes"], url=image["url"]),
            groups=answer.get("groups", {}),
            signed=answer.get("order"),
        )

    def _check(self, order: SiteOrder, *, signer: SiteSigner, data_root: str) -> None:
        expected = {
            "evaluation_id": order.evaluation_id,
            "submission": order.submission,
            "image_id": order.image_id,
            "image_sha256": order.image.sha256,
            "protocol_sha256": load_protocol(order.protocol).sha256,
            "evaluator": evaluator_version,
            "data_root": data_root,
            "groups": dict(order.groups),
        }
        if problem := signer.why_order_is_refused(order.signed, expected=expected, now=datetime.now(UTC)):
            raise SiteProblem(f"the order for submission {order.submission} is refused: {problem}")
        if any(self._drafts().glob(f"{order.evaluation_id}.released")):
            raise SiteProblem(
                f"submission {order.submission} was released before under this order; it is not run again"
            )

    def evaluate(self, order: SiteOrder, *, on_case: Callable[[LocalResult], None]) -> Draft:
        """Run and score every case that is not done yet, then write down what would be released. Refuses an order that does not hold."""
        cases = self._data.cases()
        registration = self._examine(cases)
        found = registration.root_sha256
        if found != order.root_sha256:
            raise SiteProblem("the data has changed since it was registered; start again to register it anew")
        if self._signer is not None:
            self._check(order, signer=self._signer, data_root=found)
        protocol = load_protocol(order.protocol)
        progress = Progress(
            _made(self._folder / "progress") / f"{order.evaluation_id}.jsonl",
            about={"image": order.image_id, "protocol": protocol.sha256, "data": order.root_sha256},
        )
        results = progress.read()
        done = {result.case_id for result in results}
        left = [case for case in cases if case.case_id not in done]
        if left:
            results += self._run(order, cases=left, protocol=protocol, progress=progress, on_case=on_case)
        draft = self._draft(order, cases=cases, protocol=protocol, results=results, registration=registration)
        self._connection.post("site/heartbeat", {**_lease(order), "is_in_review": True})
        return draft

    def _run(
        self,
        order: SiteOrder,
        *,
        cases: Sequence[FolderCase],
        protocol: Protocol,
        progress: Progress,
        on_case: Callable[[LocalResult], None],
    ) -> list[LocalResult]:
        numbered = number_cases(cases, everybody=self._data.cases())
        names = {case.case_id: name for case, name in zip(numbered, [case.case_id for case in cases], strict=True)}
        results = []
        with self._renewal(order) as renewal:
            workbench = Workbench(
                engine=self._opened(),
                folder=self._scratch(),
                owner=self._owner,
                should_stop=lambda: renewal.is_lost,
                may_lack_gpus=False,
            )
            load = partial(self._load_image, order)
            with borrowed_image(self._opened(), image_id=order.image_id, load=load):
                for found in run_cases(cases=numbered, image_id=order.image_id, protocol=protocol, workbench=workbench):
                    result = _named(found, numbered=names)
                    self._keep_log(order, result)
                    progress.add(result)
                    on_case(result)
                    results.append(result)
        return results

    def _draft(
        self,
        order: SiteOrder,
        *,
        cases: Sequence[FolderCase],
        protocol: Protocol,
        results: Sequence[LocalResult],
        registration: DataRegistration,
    ) -> Draft:
        groups = order.groups or dict.fromkeys(protocol.breakdowns, ())
        keys = {case.case_id: case_key(case.case_id, secret=self._secret) for case in cases}
        release = build_release(
            protocol,
            [replace(result.scores, case_id=keys[result.case_id]) for result in results],
            {keys[case.case_id]: regrouped(case.attributes, groups=groups) for case in cases},
            earlier=self._told_before(order),
            patients=registration.cases,
        )
        draft = Draft(
            path=self._drafts() / f"{order.evaluation_id}.json",
            evaluation_id=order.evaluation_id,
            fence=order.fence,
            submission=order.submission,
            aggregates=dict(release.metrics),
            failures=failures_of(results),
            withheld=release.withheld,
            results=tuple(results),
            told=release.told,
        )
        if order.signed is not None:
            names = ("submission", "agreement_sha256", "data_root", "evaluator", "nonce")
            document = {
                "kind": RELEASE,
                "evaluation_id": order.evaluation_id,
                "metrics": draft.aggregates,
                "failures": draft.failures,
                **{name: order.signed[name] for name in names},
            }
            draft = replace(draft, document=document)
        write_draft(draft)
        return draft

    def _told_before(self, order: SiteOrder) -> dict[str, list[Told]]:
        """Metric → what was released of it from here, recalled or not, and what may be: drafts that wait."""
        papers = [
            path for path in self._drafts().iterdir() if path.suffix in TOLD_IN and path.stem != order.evaluation_id
        ]
        found: dict[str, list[Told]] = {}
        for paper in sorted(papers):
            for metric, told in json.loads(paper.read_text()).get("told", {}).items():
                found.setdefault(metric, []).extend(Told.from_json(one) for one in told)
        return found

    def drafts(self) -> list[Draft]:
        """What was finished and neither released nor declined."""
        return [read_draft(path) for path in sorted(self._drafts().glob("*.json"))]

    def terms_say(self, name: str, otherwise: int) -> int:
        """A number of the terms that were signed here. A site without a key has none."""
        return int(self._signer.agreed_terms().get(name, otherwise)) if self._signer else otherwise

    def keep_approvals(self, draft: Draft, names: Sequence[str]) -> None:
        """Write down who approved a draft so far."""
        document = json.loads(draft.path.read_text())
        write_config(draft.path, json.dumps({**document, "approved_by": list(names)}, indent=2) + "\n")

    def release(self, draft: Draft, *, is_clean: bool = False) -> None:
        """Sign and send the approved numbers. Keep what was sent and the server's receipt. `is_clean` is kept for later decisions."""
        body = {"evaluation_id": draft.evaluation_id, "fence": draft.fence}
        said = None
        if draft.document is not None:
            if self._signer is None:
                raise SiteProblem("this draft has to be signed, and this site has no key here")
            said = self._signer.sign(draft.document)
        aggregates, failures = draft.leaves()["metrics"], draft.leaves()["failures"]
        answer = self._connection.post(
            "site/release", {**body, "aggregates": aggregates, "failures": failures, "said": said}
        )
        receipt = answer.get("receipt")
        if said is not None and self._signer is not None:
            problem = self._signer.why_receipt_is_refused(receipt, release_sha256=document_hash(said))
            if problem:
                raise SiteProblem(f"the server took the release, but its receipt does not hold: {problem}")
        kept = {
            "submission": draft.submission,
            "evaluation_id": draft.evaluation_id,
            "release": said,
            "receipt": receipt,
            "told": _told_text(draft),
            "clean": is_clean,
        }
        write_config(
            draft.path.with_suffix(".released"), json.dumps(kept if said else _text_of(draft), indent=2) + "\n"
        )
        self._clear(draft)

    def decline(self, draft: Draft, *, reason: str) -> None:
        """Send no numbers, and say why."""
        body = {"evaluation_id": draft.evaluation_id, "fence": draft.fence, "reason": reason}
        self._connection.post("site/decline", body)
        draft.path.with_suffix(".declined").write_text(draft.path.read_text())
        self._clear(draft)

    def recall(self, released: Path, *, reason: str, again: bool) -> None:
        """Take a released result back. The server marks it on the board, and orders it anew where `again` is said."""
        kept = json.loads(released.read_text())
        if kept.get("release") is None or self._signer is None:
            raise SiteProblem("only a result that this site signed can be recalled from here; ask the organizers")
        sha256 = document_hash(kept["release"])
        document = {
            "kind": RECALL,
            "evaluation_id": kept["evaluation_id"],
            "release_sha256": sha256,
            "reason": reason.strip(),
        }
        body = {"evaluation_id": kept["evaluation_id"], "reason": reason.strip(), "again": again}
        self._connection.post("site/recall", {**body, "said": self._signer.sign(document)})
        released.rename(released.with_suffix(".recalled"))

    def decline_order(self, order: SiteOrder, *, reason: str) -> None:
        """Hand an order back that this machine cannot carry out, and say why. It is no failure of the team."""
        self._connection.post("site/decline", {**_lease(order), "reason": reason})

    def hold(self, draft: Draft) -> None:
        """Leave a draft for later, and say so in the list."""
        document = json.loads(draft.path.read_text())
        write_config(draft.path, json.dumps({**document, "is_held": True}, indent=2) + "\n")

    def _clear(self, draft: Draft) -> None:
        draft.path.unlink(missing_ok=True)
        (self._folder / "progress" / f"{draft.evaluation_id}.jsonl").unlink(missing_ok=True)

    def _keep_log(self, order: SiteOrder, result: LocalResult) -> None:
        """What the container said, for the people of the site. It may repeat patients' text, so it never leaves."""
        folder = _made(self._folder / "logs" / NOT_IN_A_NAME.sub("-", order.submission).strip("-"))
        (folder / f"{NOT_IN_A_NAME.sub('-', result.case_id)}.log").write_bytes(result.log)

    def _renewal(self, order: SiteOrder) -> LeaseRenewal:
        def renew() -> float:
            try:
                self._connection.post("site/heartbeat", _lease(order))
            except RefusedError as refusal:
                if refusal.code == LeaseLost.code:
                    raise LeaseLost(str(refusal)) from refusal
                raise
            return order.lease_seconds

        return LeaseRenewal(renew, lease_seconds=order.lease_seconds, name=f"evaluation {order.evaluation_id}")

    def _examine(self, cases: Sequence[FolderCase] | None = None) -> DataRegistration:
        return self._data.examine(secret=self._secret, cases=cases)

    def _load_image(self, order: SiteOrder) -> None:
        archive = self._scratch() / f"{order.image.sha256}.tar"
        self._api.fetch(order.image, destination=archive)
        load_archive(self._opened(), archive, order.image_id)
        archive.unlink()

    @property
    def _data(self) -> SiteData:
        if self._given is None:
            raise SiteProblem("this needs the data, and only releases were asked for")
        return self._given

    def _opened(self) -> Engine:
        if self._engine is None:
            raise SiteProblem("this needs the container engine, and only releases were asked for")
        return self._engine

    def _scratch(self) -> Path:
        return _made(self._folder / "scratch")

    def _drafts(self) -> Path:
        return _made(self._folder / "releases")


def number_cases(cases: Sequence[FolderCase], *, everybody: Sequence[FolderCase]) -> list[FolderCase]:
    """The cases under numbers: no patient's name reaches a container. Rows of a table of references are found by their own names."""
    places = {case.case_id: place for place, case in enumerate(everybody, start=1)}
    return [replace(case, case_id=f"case-{places[case.case_id]:05d}", row=case.case_id) for case in cases]


def _named(result: LocalResult, *, numbered: Mapping[str, str]) -> LocalResult:
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
    write_config(draft.path, json.dumps(_text_of(draft), indent=2) + "\n")


def _text_of(draft: Draft) -> dict[str, Any]:
    return {
        "evaluation_id": draft.evaluation_id,
        "fence": draft.fence,
        "submission": draft.submission,
        "aggregates": draft.aggregates,
        "failures": draft.failures,
        "document": draft.document,
        "withheld": list(draft.withheld),
        "told": _told_text(draft),
        "cases": [
            {"case": result.case_id, "verdict": str(result.verdict), "reason": result.reason, **result.scores.to_json()}
            for result in draft.results
        ],
    }


def _told_text(draft: Draft) -> dict[str, Any]:
    return {metric: [one.to_json() for one in told] for metric, told in draft.told.items()}


def read_draft(path: Path) -> Draft:
    """A draft as it was written down. The results of its cases stay in the file: `read_cases`."""
    document = json.loads(path.read_text())
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
        approved_by=tuple(document.get("approved_by", ())),
        told={metric: [Told.from_json(one) for one in told] for metric, told in document.get("told", {}).items()},
    )


def read_cases(path: Path) -> list[dict[str, Any]]:
    """Verdict and scores of every case of a draft, for the people of the site."""
    return list(json.loads(path.read_text()).get("cases", []))


def _lease(order: SiteOrder) -> dict[str, Any]:
    return {"evaluation_id": order.evaluation_id, "fence": order.fence}


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
