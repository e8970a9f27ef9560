"""The one door of a node: claim, keep, hand back, record. Files in, files out. Everything is bound to the lease it holds.

A node has a token and nothing else: no database credentials, no references, no storage. It sees the image and the input images
of the case run it holds, for as long as it holds it.
"""

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import IO, Annotated, Any, cast
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Field, Router, Schema
from ninja.security import HttpBearer
from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from assay.accounts.errors import InvalidError
from assay.api.files import no_such_file, read_ticket, send_file
from assay.api.throttling import NodeThrottle
from assay.api.v1 import node_answers, schemas
from assay.api.v1.schemas import LARGEST_COLUMN, Fence, Slots
from assay.challenges.protocols import rules_of
from assay.evaluations.receipts import installation_name
from assay.runs import leases, nodes, selectors, services
from assay.runs.intervals import current_intervals
from assay.runs.leases import MANY_GPUS
from assay.runs.models import CaseRun, Node
from assay.runs.services import Ending
from assay.runs.specs import attempt_folder, limits_of, output_names, resources_of, work_order
from assay.testsets import storage
from assay.workflow import flow
from assay.workflow.workers import prompting
from containers.spec import Usage
from containers.verdicts import Verdict
from evaluator.volumes import CANONICAL_SUFFIX, DOCUMENT_SUFFIX

SIGNING_SALT = "assay.node.files"
LOG_NAME = "log"
MOST_OUTPUTS = 100_000
LONGEST_INVENTORY = 256 * 2**10
ShortText = Annotated[str, Field(max_length=300)]


def _small(inventory: dict[str, Any]) -> dict[str, Any]:
    length = len(json.dumps(inventory))
    if length > LONGEST_INVENTORY:
        raise ValueError(f"{length} characters of JSON; at most {LONGEST_INVENTORY} are kept")
    return inventory


Inventory = Annotated[dict[str, Any], AfterValidator(_small)]


class NodeToken(HttpBearer):
    """Recognises a node by its token. What it may do is in the lease it holds."""

    def authenticate(self, request: HttpRequest, token: str) -> Node | None:  # noqa: ARG002  ninja's signature
        return nodes.find_node(token)


THROTTLE = NodeThrottle()
router = Router(tags=["node"], auth=NodeToken(), throttle=[THROTTLE])


class Hello(Schema):
    """What a node says of itself when it starts."""

    slots: Slots | None = None
    inventory: Inventory = {}


class Claim(Schema):
    """A node with a free slot."""

    slots: Slots = 1
    cached_images: list[ShortText] = Field([], max_length=5000)
    disk_free_bytes: int | None = Field(None, ge=0, le=LARGEST_COLUMN)
    free_gpus: int | None = Field(None, ge=0, le=MANY_GPUS)


class HeldCaseRun(Schema):
    """A lease, as every write names it."""

    case_run_id: UUID
    fence: Fence


class ReleasedCaseRun(HeldCaseRun):
    """A lease handed back without a result. `counts`: it was a fault (of ours), not an orderly shutdown."""

    reason: str = Field("", max_length=2000)
    counts: bool = True


class RecordedOutput(Schema):
    """An output file that was sent before."""

    name: ShortText
    sha256: str = Field(max_length=64)
    bytes: int = Field(ge=0, le=LARGEST_COLUMN)


ReportedUsage = Annotated[Usage, PlainValidator(Usage.from_json), WithJsonSchema(Usage.json_schema())]
"""Checked by the record itself: a stolen node's token must not put anything else into ranks, shares and charts."""


class Record(HeldCaseRun):
    """How a case run ended."""

    verdict: Verdict
    reason: str = Field("", max_length=2000)
    exit_code: int | None = Field(None, ge=-(2**31), le=2**31 - 1)
    usage: ReportedUsage = Field(default_factory=Usage)
    outputs: list[RecordedOutput] = Field([], max_length=MOST_OUTPUTS)


def node_of(request: HttpRequest) -> Node:
    """The node that is asking."""
    node: Node = request.auth  # type: ignore[attr-defined]  # ninja puts there what NodeToken returned
    return node


@router.post(
    "/register", response=node_answers.Registered, summary="Start: what a node had before it died goes back in the line"
)
def register(request: HttpRequest, hello: Hello) -> dict[str, Any]:
    node, now, intervals = node_of(request), timezone.now(), current_intervals()
    services.see_node(node=node, now=now, inventory=hello.inventory, slots=hello.slots)
    for case_run in services.leases_of(node=node):
        flow.release(
            case_run_id=case_run.id,
            fence=case_run.fence,
            reason="node_restarted",
            now=now,
            actor_label=f"node {node.name}",
            counts=True,
        )
    return {
        "name": node.name,
        "pool": node.pool,
        "installation": installation_name(folder=Path(settings.KEY_FOLDER)),
        "slots": services.granted_slots(node, wanted=hello.slots or node.slots),
        "lease_seconds": intervals.lease_seconds,
        "heartbeat_seconds": intervals.heartbeat_seconds,
    }


@router.get(
    "/unserved",
    response=list[schemas.UnservedPhase],
    summary="Phases of the node's pool that it gets no case of, because it lacks what they need",
)
def unserved(request: HttpRequest) -> Any:
    found = selectors.unserved_by(node_of(request))
    return [{"phase": f"{phase.challenge.slug}/{phase.slug}", "needs": needs} for phase, needs in found]


@router.post(
    "/claim", response={200: node_answers.WorkOrder, 204: None}, summary="The next case run of the pool, or 204"
)
def claim(request: HttpRequest, wish: Claim) -> Any:
    node, now, intervals = node_of(request), timezone.now(), current_intervals()
    news = {"cached_images": wish.cached_images, "disk_free_bytes": wish.disk_free_bytes}
    services.see_node(node=node, now=now, inventory={**node.inventory, **news}, is_urgent=False)
    may_have_more = node.status == Node.Status.ACTIVE and leases.has_free_slot(node_id=node.pk)
    case_run = flow.claim(node=node, now=now, gpus=wish.free_gpus) if may_have_more else None
    if case_run is None:
        return HttpResponse(status=204)
    cases = [case_run.case] if case_run.case else list(case_run.run.submission.testset.cases.all())
    return work_order(
        case_run=case_run,
        cases=cases,
        sign=lambda key: file_address(request, case_run=case_run, key=key),
        lease_seconds=intervals.lease_seconds,
        heartbeat_seconds=intervals.heartbeat_seconds,
    )


@router.post("/heartbeat", response=node_answers.LeaseKept, summary="Keep the lease; says whether to cancel")
def heartbeat(request: HttpRequest, held: HeldCaseRun) -> dict[str, Any]:
    node, intervals = node_of(request), current_intervals()
    services.see_node(node=node, now=timezone.now())
    is_cancelled = leases.renew_lease(
        case_run_id=held.case_run_id, fence=held.fence, node_id=node.pk, lease_seconds=intervals.lease_seconds
    )
    return {"cancel": is_cancelled, "lease_seconds": intervals.lease_seconds}


@router.post("/record", response=node_answers.CaseRunStatus, summary="How the case run ended")
def record(request: HttpRequest, said: Record) -> dict[str, str]:
    case_run = flow.record(
        node=node_of(request),
        case_run_id=said.case_run_id,
        fence=said.fence,
        ending=Ending(
            verdict=said.verdict,
            reason=said.reason[:60],
            exit_code=said.exit_code,
            usage=said.usage,
            outputs=[output.dict() for output in said.outputs],
        ),
        now=timezone.now(),
    )
    return {"status": case_run.status}


@router.post("/release", response=node_answers.CaseRunStatus, summary="Hand the lease back without a result")
def release(request: HttpRequest, given: ReleasedCaseRun) -> dict[str, str]:
    node = node_of(request)
    leases.held(case_run_id=given.case_run_id, fence=given.fence, node_id=node.pk)
    case_run = flow.release(
        case_run_id=given.case_run_id,
        fence=given.fence,
        reason=given.reason,
        now=timezone.now(),
        actor_label=f"node {node.name}",
        counts=given.counts,
        is_delayed=True,
    )
    return {"status": case_run.status}


@router.put(
    "/case-runs/{case_run_id}/outputs/{path:name}", response=node_answers.StoredOutput, summary="Send one output file"
)
def put_output(request: HttpRequest, case_run_id: UUID, name: str, fence: Fence) -> dict[str, Any]:
    node = node_of(request)
    case_run = leases.held(case_run_id=case_run_id, fence=fence, node_id=node.pk)
    if name not in output_names(case_run):
        raise InvalidError(
            _("The order names no such output."),
            found=name[:80],
            expected=_("a name of an output in the work order"),
            what_to_do=_("Send only the outputs that the order names, under its names."),
        )
    limits = limits_of(resources_of(case_run.run.submission))
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    rules = rules_of(case_run.run.submission.protocol)
    suffix = ".csv" if rules.table_form else CANONICAL_SUFFIX
    if name.rpartition("/")[2] in rules.documents:
        suffix = DOCUMENT_SUFFIX
    stored = storage.save_file(
        key=f"{attempt_folder(case_run, attempt=case_run.attempt)}/{digest}{suffix}",
        stream=cast("IO[bytes]", request),
        max_bytes=limits.output_bytes,
    )
    output = {"name": name, "key": stored.key, "sha256": stored.sha256, "bytes": stored.bytes}
    services.add_output(case_run_id=case_run_id, fence=fence, node=node, output=output)
    return {"sha256": stored.sha256, "bytes": stored.bytes}


@router.post(
    "/case-runs/{case_run_id}/rounds/{int:number}",
    response=node_answers.RoundAsked,
    summary="What a round of an interactive case is told",
)
def ask_round(request: HttpRequest, case_run_id: UUID, number: int, held: HeldCaseRun) -> dict[str, Any]:
    leases.held(case_run_id=case_run_id, fence=held.fence, node_id=node_of(request).pk)
    asked = prompting.ask_for_round(case_run_id=case_run_id, fence=held.fence, number=number, now=timezone.now())
    is_ready = asked.made_at is not None
    return {"is_ready": is_ready, "prompts": asked.prompts, "wall_seconds": asked.wall_seconds}


@router.put("/case-runs/{case_run_id}/log", response=node_answers.StoredLog, summary="Send the log")
def put_log(request: HttpRequest, case_run_id: UUID, fence: Fence) -> dict[str, Any]:
    node = node_of(request)
    case_run = leases.held(case_run_id=case_run_id, fence=fence, node_id=node.pk)
    limits = limits_of(resources_of(case_run.run.submission))
    stored = storage.save_file(
        key=f"{attempt_folder(case_run, attempt=case_run.attempt)}/{LOG_NAME}",
        stream=cast("IO[bytes]", request),
        max_bytes=limits.log_bytes,
    )
    services.set_log(case_run_id=case_run_id, fence=fence, node=node, key=stored.key)
    return {"bytes": stored.bytes}


@router.get(
    "/files/{signed}",
    auth=None,
    url_name="node-file",
    summary="One file of the case run that is held",
    openapi_extra=schemas.file_of("application/octet-stream"),
)
def get_file(request: HttpRequest, signed: str) -> Any:
    good_for = timedelta(seconds=current_intervals().signed_url_seconds)
    ticket = read_ticket(signed, salt=SIGNING_SALT, good_for=good_for)
    is_held = CaseRun.objects.filter(
        id=ticket["case_run"], fence=ticket["fence"], status=CaseRun.Status.RUNNING
    ).exists()
    if not is_held:
        raise no_such_file()
    return send_file(key=ticket["key"], wanted=request.headers.get("Range", ""))


def file_address(request: HttpRequest, *, case_run: CaseRun, key: str) -> str:
    """A short-lived address for one stored file, good for as long as this lease is."""
    ticket = {"case_run": str(case_run.id), "fence": case_run.fence, "key": key}
    path = request.path.removesuffix("/claim")
    return f"{path}/files/{signing.dumps(ticket, salt=SIGNING_SALT)}"
