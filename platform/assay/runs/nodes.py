"""Nodes: enrolling one, recognising it by its token, and taking it out of service."""

from collections import Counter
from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext, ngettext

from assay.accounts.audit import record_event
from assay.accounts.models import User
from assay.accounts.tokens import hash_secret, new_secret
from assay.runs.models import Node

TOKEN_PREFIX = "assaynode_"  # noqa: S105  a prefix, not a secret


def enrol_node(
    *, name: str, pool: str, slots: int, by: User | None, now: datetime, most_slots: int | None = None
) -> tuple[Node, str]:
    """A new node (or a new token for a known one) and its token, which is shown this once.

    The node may say that it has other slots, up to `most_slots` where that is given.
    """
    token = new_secret(prefix=TOKEN_PREFIX)
    values = {
        "pool": pool,
        "slots": slots if most_slots is None else min(slots, most_slots),
        "most_slots": most_slots,
        "token_hash": hash_secret(token),
        "status": Node.Status.ACTIVE,
        "reason": "",
        "created_at": now,
    }
    node, _ = Node.objects.update_or_create(name=name, defaults=values)
    record_event(verb="node.enrolled", subject=node, now=now, actor=by, pool=pool, slots=slots)
    return node, token


def find_node(token: str) -> Node | None:
    """The node this token belongs to, unless it was removed."""
    if not token.startswith(TOKEN_PREFIX):
        return None
    return Node.objects.filter(token_hash=hash_secret(token)).exclude(status=Node.Status.REMOVED).first()


def served_pools() -> list[str]:
    """The pools that have a node, whatever it does at the moment. One query."""
    served = Node.objects.exclude(status=Node.Status.REMOVED).values_list("pool", flat=True)
    return sorted(served.distinct())


def machines_of_pools() -> dict[str, str]:
    """For each pool that has a node, its machines in words: how many, and which GPUs they say they have. One query."""
    nodes = Node.objects.exclude(status=Node.Status.REMOVED).order_by("pool", "name")
    found: dict[str, list[Counter[str]]] = {}
    for pool, inventory in nodes.values_list("pool", "inventory"):
        told = inventory.get("gpus") if isinstance(inventory, dict) else None
        gpus = [
            gpu.get("name", "GPU") if isinstance(gpu, dict) else gpu for gpu in (told if isinstance(told, list) else ())
        ]
        found.setdefault(pool, []).append(Counter(str(gpu)[:60] for gpu in gpus))
    words = {}
    for pool, counts in found.items():
        total: Counter[str] = sum(counts, Counter())
        gpus = [f"{count} × {name}" for name, count in sorted(total.items())]
        nodes_words = ngettext("%(count)s node", "%(count)s nodes", len(counts)) % {"count": len(counts)}
        words[pool] = ", ".join([nodes_words, *(gpus or [gettext("no GPU")])])
    return words


def set_hourly_cost(*, node: Node, hourly_cost: Decimal | None, by: User, now: datetime) -> None:
    """What an hour of it costs from now on. What ran before is counted by the new cost as well."""
    node.hourly_cost = hourly_cost
    node.save(update_fields=["hourly_cost"])
    told = None if hourly_cost is None else str(hourly_cost)
    record_event(verb="node.cost_changed", subject=node, now=now, actor=by, hourly_cost=told)


def set_node_status(*, node: Node, status: Node.Status, reason: str, by: User, now: datetime) -> bool:
    """Drain, quarantine, remove or take a node back into service; False when it was so already."""
    changed = Node.objects.filter(pk=node.pk).exclude(status=status).update(status=status, reason=reason[:200])
    if changed:
        record_event(verb=f"node.{status}", subject=node, now=now, actor=by, reason=reason)
    return bool(changed)
