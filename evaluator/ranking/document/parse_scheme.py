"""The expression tree of the `ranking` section, and what breaks its ties: from the document to nodes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evaluator.ranking.document.config import Aggregate, ConsensusMethod, Node, SchemeType, TieMethod, Ties
from evaluator.ranking.document.section import Section, number, show
from evaluator.ranking.errors import ConfigError

_RANK_TYPES = (SchemeType.MEAN_OF_RANKS, SchemeType.MEDIAN_OF_RANKS, SchemeType.SUM_OF_RANKS)


def _aggregates(value: Any, path: str, *, levels: Sequence[str]) -> Mapping[str, Aggregate]:
    if isinstance(value, str):
        value = dict.fromkeys(levels, value)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: found {show(value)}; expected one aggregate, or level: aggregate")
    for level in value:
        if level not in levels:
            raise ConfigError(f"{path}: found level {level!r}; expected one of {', '.join(levels)}")
    return {level: aggregate(text, f"{path}.{level}") for level, text in value.items()}


def aggregate(text: Any, path: str) -> Aggregate:
    """`mean`, `median`, `geometric`, `std`, `sum`, `quantile:0.3`, `trimmed:0.1`, `highest:0.68`, `lowest:0.68` or `share_above:0.8`."""
    if text in ("mean", "median", "geometric", "std", "sum"):
        return Aggregate(kind=text)
    match = re.fullmatch(r"(quantile|trimmed|highest|lowest|share_above):(\d*\.?\d+(?:e-?\d+)?)", str(text))
    q = float(match[2]) if match else -1.0
    kind = match[1] if match else ""
    is_share = (
        (kind == "quantile" and q <= 1)
        or (kind == "trimmed" and q < 0.5)
        or (kind in ("highest", "lowest") and 0 < q <= 1)
    )
    if match is None or not (is_share or kind == "share_above"):
        raise ConfigError(
            f"{path}: found {show(text)}; expected mean, median, std, sum or quantile:q with q between 0 and 1, geometric, "
            "trimmed:q with q below 0.5, highest:q or lowest:q with q above 0, or share_above:x"
        )
    return Aggregate(kind=kind, q=q)


def parse_node(value: Any, path: str, *, levels: tuple[str, ...]) -> Node:
    """A node and its children. A name alone is a node of that type."""
    if isinstance(value, str):
        value = {"type": value}
    section = Section(value, path)
    kind = section.choice("type", SchemeType, SchemeType.MEAN_OF_RANKS)
    own_levels = section.names("levels") or levels
    children = section.each("children", lambda item, where: parse_node(item, where, levels=own_levels))
    weights = section.each("weights", _weight) or tuple(1.0 for _ in children)
    rank_at = frozenset(section.names("rank_at")) | {"metric"}
    node = Node(
        type=kind,
        name=section.text("name"),
        metrics=section.names("metrics"),
        structures=section.names("structures"),
        rank_at=rank_at,
        of=section.text("of", "value"),
        aggregate=_aggregates(section.get("aggregate", {}), f"{path}.aggregate", levels=own_levels),
        levels=own_levels,
        nesting=section.text("nesting", "nested"),
        normalise=section.get("normalise", "none") == "teams",
        consensus=section.choice("consensus", ConsensusMethod, ConsensusMethod.EUCLIDEAN),
        weights=weights,
        children=children,
    )
    section.done()
    _check_node(node, section, path)
    return node


def _weight(value: Any, path: str) -> float:
    return number(value, path, minimum=0)


def _check_node(node: Node, section: Section, path: str) -> None:
    for key, found, expected in (
        ("of", node.of, ("value", "significance")),
        ("nesting", node.nesting, ("nested", "flat")),
        ("normalise", section.get("normalise", "none"), ("none", "teams")),
    ):
        if found not in expected:
            raise ConfigError(f"{path}.{key}: found {show(found)}; expected {' or '.join(expected)}")
    if len(node.weights) != len(node.children):
        raise ConfigError(
            f"{path}.weights: found {len(node.weights)}; expected one for each of {len(node.children)} children"
        )
    if node.children and not any(node.weights):
        raise ConfigError(f"{path}.weights: found weights of zero only; expected one that counts")
    unknown = node.rank_at - set(node.levels) - {"metric"}
    if unknown:
        raise ConfigError(
            f"{path}.rank_at: found {', '.join(sorted(unknown))}; expected {', '.join(node.levels)} or metric"
        )
    if len(node.rank_at - {"metric", "structure"}) > 1:
        raise ConfigError(
            f"{path}.rank_at: found {sorted(node.rank_at)}; expected at most one of case and the levels above it"
        )
    if node.children and (node.metrics or node.structures):
        raise ConfigError(
            f"{path}: found children beside metrics or structures; expected either: put them in the children"
        )
    if node.normalise and node.type not in _RANK_TYPES:
        raise ConfigError(
            f"{path}.normalise: found teams on a {node.type}; expected it on mean, median or sum of ranks"
        )


def parse_ties(value: Any, path: str, *, levels: tuple[str, ...]) -> Ties:
    """How equal scores share ranks, and what breaks ties."""
    section = Section(value, path)
    digits = section.get("digits", 12)
    if digits is not None and (not isinstance(digits, int) or not 1 <= digits <= 15):
        raise ConfigError(f"{path}.digits: found {show(digits)}; expected 1 to 15, or null for exact comparison")
    ties = Ties(
        method=section.choice("method", TieMethod, TieMethod.MIN),
        tolerance=section.number("tolerance", 0.0, minimum=0),
        digits=digits,
        breakers=section.each("break", lambda item, where: _breaker(item, where, levels=levels)),
    )
    section.done()
    return ties


def _breaker(value: Any, path: str, *, levels: tuple[str, ...]) -> Node:
    """`dice` or `dice.tumour` for an aggregated value, or a whole node."""
    if not isinstance(value, str):
        return parse_node(value, path, levels=levels)
    metric, _, structure = value.partition(".")
    return Node(
        type=SchemeType.VALUE,
        name=value,
        metrics=(metric,),
        structures=(structure,) if structure else (),
        levels=levels,
    )


def walk(node: Node) -> tuple[Node, ...]:
    """A node and everything below it."""
    return (node, *(inner for child in node.children for inner in walk(child)))
