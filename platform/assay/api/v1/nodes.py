"""Nodes as operators see them. What nodes themselves say is in `node.py`."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Router, Status

from assay.accounts.errors import NotFoundError
from assay.api.auth import person_of
from assay.api.v1 import schemas
from assay.challenges.access import require_staff
from assay.evaluations.receipts import signing_key
from assay.runs.costs import costs_by_phase
from assay.runs.models import Node
from assay.runs.nodes import enrol_node, set_hourly_cost, set_node_status
from assay.signatures import public_key_text

router = Router()
keys_router = Router()


@router.get("", response=list[schemas.NodeOut])
def list_nodes(request: HttpRequest) -> list[Node]:
    """Every node and when it was last heard of."""
    require_staff(person_of(request))
    return list(Node.objects.order_by("pool", "name"))


@router.post("", response={201: schemas.NodeEnrolled})
def enrol(request: HttpRequest, body: schemas.NodeIn) -> Status[dict[str, Any]]:
    """Let a machine join a pool. Its token is shown this once. A known name gets a new token."""
    user = require_staff(person_of(request))
    node, token = enrol_node(
        name=body.name,
        pool=body.pool,
        slots=body.slots,
        most_slots=body.most_slots,
        by=user,
        now=timezone.now(),
    )
    return Status(201, {"name": node.name, "pool": node.pool, "token": token})


@router.post("/{name}/status", response=schemas.NodeOut)
def change_status(request: HttpRequest, name: str, body: schemas.NodeStatusIn) -> Node:
    """Drain a node, quarantine it, take it back, or remove it for good: its token is void then, and its leases run out."""
    user = require_staff(person_of(request))
    node = Node.objects.filter(name=name).first()
    if node is None:
        raise NotFoundError(_("There is no such node."), found=name, what_to_do=_("Look at the list of nodes."))
    set_node_status(node=node, status=Node.Status(body.status), reason=body.reason, by=user, now=timezone.now())
    node.refresh_from_db()
    return node


@router.post("/{name}/cost", response=schemas.NodeOut)
def change_cost(request: HttpRequest, name: str, body: schemas.NodeCostIn) -> Node:
    """What an hour of the node costs, in the installation's own currency."""
    user = require_staff(person_of(request))
    node = Node.objects.filter(name=name).first()
    if node is None:
        raise NotFoundError(_("There is no such node."), found=name, what_to_do=_("Look at the list of nodes."))
    set_hourly_cost(node=node, hourly_cost=body.hourly_cost, by=user, now=timezone.now())
    return node


@router.get("/costs", response=list[schemas.NodeCostOut])
def list_costs(request: HttpRequest) -> list[dict[str, Any]]:
    """What nodes with a known cost have spent on each phase, by their last attempts."""
    require_staff(person_of(request))
    return [cost.__dict__ for cost in costs_by_phase()]


@keys_router.get("/keys", auth=None, response=schemas.KeysOut)
def public_keys(request: HttpRequest) -> dict[str, str]:
    """The public half of the key this installation signs receipts with, base64. `assay verify --key` takes it."""
    return {"ed25519": public_key_text(signing_key(folder=settings.KEY_FOLDER))}
