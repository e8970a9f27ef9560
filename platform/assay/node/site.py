"""The agent of an evaluation site: it polls, runs a submission on data that never leaves, and releases what a person approved.

Outbound HTTPS only. What is sent: the data's root hash and case count, heartbeats, and approved releases. Every release is
first written to a file, so that it can be approved later (`assay site release`), by somebody else, after a restart.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from assay.client.errors import RefusedError
from assay.client.http import Connection
from assay.leases import LeaseLost, LeaseRenewal
from assay.node.folder import FolderCase
from assay.node.http import NodeApi
from assay.node.local import LocalResult, Workbench, run_cases
from assay.node.orders import FileOrder
from assay.node.registry import DataRegistration
from assay.node.review import build_release
from assay.node.site_data import SiteData
from containers.engines import Engine
from containers.intake import load_archive
from containers.machine import borrowed_image
from evaluator import __version__ as evaluator_version
from evaluator.protocol import load_protocol


class SiteProblem(Exception):
    """The site cannot go on. The text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class SiteOrder:
    """One submission to evaluate."""

    evaluation_id: str
    fence: int
    lease_seconds: float
    submission: str
    root_sha256: str
    protocol: Mapping[str, Any]
    image_id: str
    image: FileOrder


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A finished evaluation before its release: the numbers that would leave, and the file they lie in."""

    path: Path
    evaluation_id: str
    fence: int
    submission: str
    aggregates: dict[str, Any]
    withheld: tuple[str, ...] = ()
    results: tuple[LocalResult, ...] = ()


class SiteAgent:
    """Works for one site on one folder of cases."""

    def __init__(
        self,
        *,
        connection: Connection,
        api: NodeApi,
        data: SiteData,
        secret: bytes,
        folder: Path,
        engine: Engine,
        owner: str,
    ) -> None:
        self._connection = connection
        self._api = api
        self._data = data
        self._secret = secret
        self._folder = folder
        self._engine = engine
        self._owner = owner

    def register(self) -> DataRegistration:
        """Hash the data, and tell the server the root and the number of cases."""
        registration = self._examine()
        self._connection.post(
            "site/datasets", {"root_sha256": registration.root_sha256, "case_count": registration.case_count}
        )
        return registration

    def claim(self, registration: DataRegistration) -> SiteOrder | None:
        """The next submission, or None. Refuses to score with another evaluator than the server's."""
        answer = self._connection.post("site/claim", {"root_sha256": registration.root_sha256})
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
        )

    def evaluate(self, order: SiteOrder, *, on_case: Callable[[LocalResult], None]) -> Draft:
        """Run and score every case, then write down what would be released."""
        cases = self._data.cases()
        if self._examine(cases).root_sha256 != order.root_sha256:
            raise SiteProblem("the data has changed since it was registered; start again to register it anew")
        with self._renewal(order) as renewal:
            protocol = load_protocol(order.protocol)
            workbench = Workbench(
                engine=self._engine, folder=self._scratch(), owner=self._owner, should_stop=lambda: renewal.is_lost
            )
            results = []
            load = partial(self._load_image, order)
            with borrowed_image(self._engine, image_id=order.image_id, load=load):
                for result in run_cases(cases=cases, image_id=order.image_id, protocol=protocol, workbench=workbench):
                    on_case(result)
                    results.append(result)
        attributes = {case.case_id: dict(case.attributes) for case in cases}
        release = build_release(protocol, [result.scores for result in results], attributes)
        self._connection.post("site/heartbeat", {**_lease(order), "is_in_review": True})
        draft = Draft(
            path=self._drafts() / f"{order.evaluation_id}.json",
            evaluation_id=order.evaluation_id,
            fence=order.fence,
            submission=order.submission,
            aggregates=dict(release.metrics),
            withheld=release.withheld,
            results=tuple(results),
        )
        draft.path.write_text(
            json.dumps({**_lease(order), "submission": order.submission, "aggregates": release.metrics}, indent=2)
        )
        return draft

    def drafts(self) -> list[Draft]:
        """What was finished and neither released nor declined."""
        return [read_draft(path) for path in sorted(self._drafts().glob("*.json"))]

    def release(self, draft: Draft) -> None:
        """Send the approved numbers, and keep a copy of what was sent."""
        body = {"evaluation_id": draft.evaluation_id, "fence": draft.fence, "aggregates": draft.aggregates}
        self._connection.post("site/release", body)
        draft.path.rename(draft.path.with_suffix(".released"))

    def decline(self, draft: Draft, *, reason: str) -> None:
        """Send no numbers, and say why."""
        body = {"evaluation_id": draft.evaluation_id, "fence": draft.fence, "reason": reason}
        self._connection.post("site/decline", body)
        draft.path.rename(draft.path.with_suffix(".declined"))

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
        load_archive(self._engine, archive, order.image_id)
        archive.unlink()

    def _scratch(self) -> Path:
        return _made(self._folder / "scratch")

    def _drafts(self) -> Path:
        return _made(self._folder / "releases")


def read_draft(path: Path) -> Draft:
    """A draft as it was written down."""
    document = json.loads(path.read_text())
    return Draft(
        path=path,
        evaluation_id=document["evaluation_id"],
        fence=document["fence"],
        submission=document["submission"],
        aggregates=document["aggregates"],
    )


def _lease(order: SiteOrder) -> dict[str, Any]:
    return {"evaluation_id": order.evaluation_id, "fence": order.fence}


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
