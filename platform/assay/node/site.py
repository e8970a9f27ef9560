"""The agent of an evaluation site: it polls, runs a submission on data that never leaves, and releases what a person approved.

Outbound HTTPS only. What is sent: the data's root hash and case count, heartbeats, and approved releases. Every release is
first written to a file, so that it can be approved later (`assay site release`), by somebody else, after a restart.

A site that joined with a key takes orders only that the server signed with the key it showed when the site joined, under terms that
the site signed. What leaves is signed here. Every finished case is written down at once, so that a machine that was switched off goes
on with the next case. Nothing of that leaves: scores of cases, logs and drafts lie in the site's folder.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from assay import private_files
from assay.client.errors import RefusedError
from assay.client.http import Connection
from assay.leases import LeaseLost, LeaseRenewal
from assay.node.folder import NOT_IN_A_NAME, FolderCase, case_name
from assay.node.http import NodeApi
from assay.node.joining import write_config
from assay.node.local import LocalResult, Workbench, run_cases
from assay.node.orders import FileOrder
from assay.node.registry import DataRegistration, case_key
from assay.node.review import build_release
from assay.node.review_slices import CaseFiles
from assay.node.site_bundle import write_checked
from assay.node.site_data import SiteData
from assay.node.site_drafts import (
    Draft,
    failures_of,
    named,
    number_cases,
    read_document,
    read_draft,
    read_paper,
    regrouped,
    text_of,
    told_text,
    write_document,
    write_draft,
)
from assay.node.site_orders import SiteOrder, order_of
from assay.node.site_problems import SiteProblem
from assay.node.site_progress import Progress
from assay.node.site_signing import SiteSigner
from assay.sealing import unseal
from assay.signatures import document_hash
from containers.engines import Engine
from containers.errors import EngineError, EngineUnreachable
from containers.intake import load_archive
from containers.machine import has_image
from containers.sandbox import remove_leftovers
from evaluator import __version__ as evaluator_version
from evaluator.disclosure import Told
from evaluator.protocol import Protocol, load_protocol

RELEASE, RECALL, DECLINE = "assay-site-release", "assay-site-recall", "assay-site-decline"
TOLD_IN = (".json", ".released", ".recalled")
"""Papers whose numbers others have read, or may read."""
STANDS = {
    "json": "waits for a decision here",
    "released": "was released before",
    "recalled": "was released and recalled before",
    "declined": "was declined before",
}
LONGEST_REASON = 200
LONGEST_FILE_NAME = 80


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
        at_once: int = 1,
    ) -> None:
        self._connection = connection
        self._api = api
        self._given = data
        self._secret = secret
        self._folder = self.folder = folder
        self._engine = engine
        self._owner = owner
        self._signer = signer
        self._at_once = at_once
        self._everybody: list[FolderCase] | None = None

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
            remove_leftovers(self._opened(), owner=self._owner, keep=set(), scratch=self._scratch())
            for left in self._scratch().glob("case-*"):
                shutil.rmtree(left)
            for left in self._scratch().glob("*.sealed"):  # of a lease that has ended: its key is another one now
                left.unlink()
            for left in private_files.half_written(self._drafts()):
                left.unlink()
            self._make_broken_drafts_anew()
            self._forget_predictions()
            try:
                yield
            finally:
                for note in self._images().iterdir():  # of a program that was killed
                    self._give_back(note)

    def _make_broken_drafts_anew(self) -> None:
        """A draft that the disk did not keep is removed, and its evaluation taken up again. Its cases are in the file of progress."""
        for path in self._drafts().glob("*.json"):
            try:
                read_draft(path)
            except SiteProblem:
                lease = self._progress_of(path.stem).with_suffix(".lease")
                if not lease.exists():
                    raise
                self._connection.post("site/heartbeat", json.loads(lease.read_text()))
                path.unlink()

    def register(self) -> DataRegistration:
        """Hash the data, and tell the server the root and the number of cases."""
        registration = self._examine()
        self._connection.post(
            "site/datasets", {"root_sha256": registration.root_sha256, "case_count": registration.case_count}
        )
        return registration

    def claim(
        self, registration: DataRegistration, *, skip: Sequence[str] = (), wait_seconds: int = 0
    ) -> SiteOrder | None:
        """The next submission, or None. `skip`: evaluations that this machine could not do now. Others go first.

        `wait_seconds`: how long the server may wait for new work before it answers that there is none.

        Refuses to score with another evaluator than the server's.
        """
        agent = self._signer.agent if self._signer else ""
        wish = {
            "root_sha256": registration.root_sha256,
            "agent": agent,
            "skip": list(skip),
            "wait_seconds": wait_seconds,
        }
        answer = self._connection.post("site/claim", wish)
        if not answer:
            return None
        return order_of(answer)

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
            self._progress_of(order.evaluation_id),
            about={"image": order.image_id, "protocol": protocol.sha256, "data": order.root_sha256},
        )
        results = progress.read()
        done = {result.case_id for result in results}
        left = [case for case in cases if case.case_id not in done]
        if left:
            results += self._run(order, cases=left, protocol=protocol, progress=progress, on_case=on_case)
        draft = self._draft(order, cases=cases, protocol=protocol, results=results, registration=registration)
        if order.bundle is None:
            self._connection.post("site/heartbeat", {**order.lease(), "is_in_review": True})
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
                at_once=self._at_once,
            )
            with self._lent_image(order):
                played = run_cases(
                    cases=numbered,
                    image_id=order.image_id,
                    protocol=protocol,
                    workbench=workbench,
                    keep=_made(self._predictions(order.evaluation_id)),
                )
                for found in played:
                    result = named(found, numbered=names)
                    self._keep_log(order, result)
                    progress.add(result)
                    on_case(result)
                    results.append(result)
        return results

    @contextmanager
    def _lent_image(self, order: SiteOrder) -> Iterator[None]:
        """The image is in the engine for as long as the context lasts. A note says that it came from here, should the program be killed."""
        note = self._images() / NOT_IN_A_NAME.sub("-", order.image_id)
        if not has_image(self._opened(), order.image_id):
            note.write_text(order.image_id)
            self._load_image(order)
        try:
            yield
        finally:
            if note.exists():
                self._give_back(note)

    def _give_back(self, note: Path) -> None:
        """Remove an image that was loaded from here, unless another program runs it by now. Later, where the engine does not answer."""
        try:
            self._opened().remove_image(note.read_text())
        except EngineUnreachable:
            return
        except EngineError:
            pass
        note.unlink()

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
            by_file=order.bundle is not None,
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
        if order.bundle is None:
            write_config(self._progress_of(order.evaluation_id).with_suffix(".lease"), json.dumps(order.lease()))
        write_draft(draft)
        return draft

    def _told_before(self, order: SiteOrder) -> dict[str, list[Told]]:
        """Metric → what was released of it from here, recalled or not, and what may be: drafts that wait."""
        papers = [
            path for path in self._drafts().iterdir() if path.suffix in TOLD_IN and path.stem != order.evaluation_id
        ]
        found: dict[str, list[Told]] = {}
        for paper in sorted(papers):
            for metric, told in read_paper(paper).get("told", {}).items():
                found.setdefault(metric, []).extend(Told.from_json(one) for one in told)
        return found

    def drafts(self) -> list[Draft]:
        """What was finished and neither released nor declined."""
        return [read_draft(path) for path in sorted(self._drafts().glob("*.json"))]

    def files_of(self, draft: Draft, *, case_id: str) -> CaseFiles:
        """The files of one case: where they lie, and what the algorithm wrote. For the eyes of the site's people."""
        if self._everybody is None:
            self._everybody = self._data.cases()
        case = next((case for case in self._everybody if case.case_id == case_id), None)
        if case is None:
            raise SiteProblem(f"case {case_id} is not in the data any more")
        (numbered,) = number_cases([case], everybody=self._everybody)
        written = self._predictions(draft.evaluation_id) / case_name(numbered)
        return CaseFiles(
            case_id=case_id,
            inputs=case.inputs,
            references=case.references,
            predictions={path.name: path for path in sorted(written.rglob("*")) if path.is_file()},
        )

    def _predictions(self, evaluation_id: str) -> Path:
        """What the algorithm wrote, until the result is decided."""
        return self._folder / "predictions" / evaluation_id

    def _forget_predictions(self) -> None:
        """Those of evaluations that neither wait for a decision nor are under way."""
        for folder in (self._folder / "predictions").glob("*"):
            if not self._progress_of(folder.name).exists() and not (self._drafts() / f"{folder.name}.json").exists():
                shutil.rmtree(folder)

    def terms_say(self, name: str, otherwise: int) -> int:
        """A number of the terms that were signed here. A site without a key has none."""
        return int(self._signer.agreed_terms().get(name, otherwise)) if self._signer else otherwise

    def keep_approvals(self, draft: Draft, names: Sequence[str]) -> None:
        """Write down who approved a draft so far."""
        write_document(draft.path, {**read_document(draft.path), "approved_by": list(names)})

    def release(self, draft: Draft, *, is_clean: bool = False) -> None:
        """Sign and send the approved numbers. Keep what was sent and the server's receipt. `is_clean` is kept for later decisions."""
        body = {"evaluation_id": draft.evaluation_id, "fence": draft.fence}
        said = None
        if draft.document is not None:
            if self._signer is None:
                raise SiteProblem("this draft has to be signed, and this site has no key here")
            said = self._signer.sign(draft.document)
        aggregates, failures = draft.leaves()["metrics"], draft.leaves()["failures"]
        receipt = None
        if draft.by_file:
            self._write_result(draft.submission, {**body, "action": "release", "said": said})
        else:
            answer = self._connection.post(
                "site/release", {**body, "aggregates": aggregates, "failures": failures, "said": said}
            )
            receipt = answer.get("receipt")
        if said is not None and self._signer is not None and not draft.by_file:
            problem = self._signer.why_receipt_is_refused(receipt, release_sha256=document_hash(said))
            if problem:
                raise SiteProblem(f"the server took the release, but its receipt does not hold: {problem}")
        kept = {
            "submission": draft.submission,
            "evaluation_id": draft.evaluation_id,
            "release": said,
            "receipt": receipt,
            "told": told_text(draft),
            "clean": is_clean,
        }
        write_config(draft.path.with_suffix(".released"), json.dumps(kept if said else text_of(draft), indent=2) + "\n")
        self._clear(draft)

    def decline(self, draft: Draft, *, reason: str) -> None:
        """Send no numbers, and say why."""
        lease = {"evaluation_id": draft.evaluation_id, "fence": draft.fence}
        if draft.by_file:
            self._write_decline(
                draft.submission, lease=lease, nonce=(draft.document or {}).get("nonce", ""), reason=reason
            )
        else:
            self._connection.post("site/decline", {**lease, "reason": reason})
        draft.path.with_suffix(".declined").write_text(draft.path.read_text())
        self._clear(draft)

    def recall(self, released: Path, *, reason: str, again: bool) -> None:
        """Take a released result back. The server marks it on the board, and orders it anew where `again` is said."""
        kept = read_paper(released)
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
        if order.bundle is None:
            self._connection.post("site/decline", {**order.lease(), "reason": reason})
            return
        nonce = str((order.signed or {}).get("nonce", ""))
        self._write_decline(order.submission, lease=order.lease(), nonce=nonce, reason=reason)
        write_config(self._drafts() / f"{order.evaluation_id}.declined", json.dumps({"reason": reason}) + "\n")

    def stands(self, order: SiteOrder) -> str:
        """Where an order from a stick stands here: empty before it was evaluated."""
        for ending, words in STANDS.items():
            if (self._drafts() / f"{order.evaluation_id}.{ending}").exists():
                return words
        return ""

    def keep_receipt(self, evaluation_id: str, receipt: Mapping[str, Any]) -> bool:
        """Put the server's receipt beside the release that went out on a stick. False where there is none, or it has one.

        Raises SiteProblem where the server did not sign it, or signed it about another release.
        """
        path = self._drafts() / f"{evaluation_id}.released"
        kept = read_paper(path) if path.exists() else {}
        if not kept.get("release") or kept.get("receipt") or self._signer is None:
            return False
        if problem := self._signer.why_receipt_is_refused(receipt, release_sha256=document_hash(kept["release"])):
            raise SiteProblem(f"the receipt for submission {kept['submission']} does not hold: {problem}")
        write_config(path, json.dumps({**kept, "receipt": dict(receipt)}, indent=2) + "\n")
        return True

    @property
    def outbox(self) -> Path:
        """Where results lie that go out on a stick."""
        return _made(self._folder / "outbox")

    def _write_decline(self, submission: str, *, lease: Mapping[str, Any], nonce: str, reason: str) -> None:
        if self._signer is None:
            raise SiteProblem("this has to be signed, and this site has no key here")
        words = " ".join(reason.split())[:LONGEST_REASON]
        document = {"kind": DECLINE, "evaluation_id": lease["evaluation_id"], "nonce": nonce, "reason": words}
        self._write_result(submission, {**lease, "action": "decline", "said": self._signer.sign(document)})

    def _write_result(self, submission: str, result: Mapping[str, Any]) -> None:
        name = f"submission-{NOT_IN_A_NAME.sub('-', submission).strip('-')}-{result['evaluation_id'][:8]}.json"
        write_config(self.outbox / name, json.dumps({"site_result": 1, **result}, indent=2) + "\n")

    def hold(self, draft: Draft) -> None:
        """Leave a draft for later, and say so in the list."""
        write_document(draft.path, {**read_document(draft.path), "is_held": True})

    def _clear(self, draft: Draft) -> None:
        draft.path.unlink(missing_ok=True)
        self._progress_of(draft.evaluation_id).unlink(missing_ok=True)
        self._progress_of(draft.evaluation_id).with_suffix(".lease").unlink(missing_ok=True)
        shutil.rmtree(self._predictions(draft.evaluation_id), ignore_errors=True)

    def _keep_log(self, order: SiteOrder, result: LocalResult) -> None:
        """What the container said, for the people of the site. It may repeat patients' text, so it never leaves."""
        folder = _made(self._folder / "logs" / NOT_IN_A_NAME.sub("-", order.submission).strip("-"))
        (folder / f"{file_name_of(result.case_id)}.log").write_bytes(result.log)

    def _renewal(self, order: SiteOrder) -> LeaseRenewal:
        def renew() -> float:
            if order.bundle is not None:  # leased for as long as the order is good
                return order.lease_seconds
            try:
                self._connection.post("site/heartbeat", order.lease())
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
        if order.bundle is None:
            if order.sealed_bytes and self._signer is not None:
                self._fetch_sealed(order, archive=archive, key=self._signer.sealing_key())
            else:
                self._api.fetch(order.image, destination=archive)
            load_archive(self._opened(), archive, order.image_id)
            archive.unlink()
            return
        if self._signer is None:
            raise SiteProblem("a bundle is for a site with a key, and this site has none here")
        archive.unlink(missing_ok=True)  # of a program that was killed
        key = self._signer.sealing_key
        order.bundle.write_image(order.image.url, sha256=order.image.sha256, destination=archive, key=key)
        try:
            load_archive(self._opened(), archive, order.image_id)
        finally:
            archive.unlink()

    def _fetch_sealed(self, order: SiteOrder, *, archive: Path, key: X25519PrivateKey) -> None:
        """The image as the server seals it to this site's key: a proxy that opens encrypted connections cannot read it."""
        sealed = archive.with_suffix(".sealed")
        wanted = FileOrder(path=sealed.name, sha256="", bytes=order.sealed_bytes, url=f"{order.image.url}?sealed=true")
        archive.unlink(missing_ok=True)  # of a program that was killed
        try:
            self._api.fetch(wanted, destination=sealed)
            with sealed.open("rb") as file:
                name = f"the image of submission {order.submission}"
                write_checked(unseal(file, key=key), sha256=order.image.sha256, destination=archive, name=name)
        finally:
            sealed.unlink(missing_ok=True)

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

    def _progress_of(self, evaluation_id: str) -> Path:
        return _made(self._folder / "progress") / f"{evaluation_id}.jsonl"

    def _images(self) -> Path:
        """Notes of images that were loaded from here."""
        return _made(self._folder / "images")

    def _drafts(self) -> Path:
        return _made(self._folder / "releases")


def file_name_of(case_id: str) -> str:
    """A name for a file about this case: its own where it can be one, else the beginning of it and a hash, so that no two are alike."""
    plain = NOT_IN_A_NAME.sub("-", case_id)
    if plain == case_id and len(plain) <= LONGEST_FILE_NAME and not plain.startswith("."):
        return plain
    return f"{plain[:LONGEST_FILE_NAME].lstrip('.')}-{hashlib.sha256(case_id.encode()).hexdigest()[:12]}"


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
