"""A metric on its way up the levels: structure → case → patient → site → everything.

A block is draw × algorithm × structure × unit. Multiplicities of a bootstrap enter when the block leaves the cluster
level: below it nothing depends on the draw, above it everything does. A cluster that is no level of its own (sites,
when scores are averaged over cases alone) is resampled by weighting its cases.
"""

from dataclasses import dataclass, replace

from evaluator.arrays import Floats
from evaluator.ranking.document.config import MEAN, Aggregate, Node
from evaluator.ranking.errors import ConfigError
from evaluator.ranking.schemes.prepare import Metric, Prepared, ratio
from evaluator.ranking.schemes.reduction import reduce_structures, reduce_units

_SUM = Aggregate(kind="sum")


@dataclass(frozen=True, eq=False)
class Draws:
    """Bootstrap replicates: how often each cluster was drawn, draw × cluster; where raters are drawn too, how often the rater of each
    case was, draw × case.
    """

    multiplicities: Floats
    follows_challenger: bool = False
    raters: Floats | None = None

    def part(self, first: int, last: int) -> "Draws":
        """Some of the replicates."""
        raters = None if self.raters is None else self.raters[first:last]
        return replace(self, multiplicities=self.multiplicities[first:last], raters=raters)


@dataclass(frozen=True, eq=False)
class Block:
    """Values draw × algorithm × structure × unit of `level` (`None`: the top). `is_raw`: nothing was aggregated yet."""

    metric: Metric
    values: Floats
    level: str | None
    weights: tuple[float, ...]
    is_raw: bool = True
    is_drawn: bool = False


def start(node: Node, name: str, prepared: Prepared) -> Block:
    """The block of a metric's cases, with the structures the node asks for."""
    metric = prepared.metrics[name]
    if not node.structures:
        return Block(metric=metric, values=metric.values[None], level="case", weights=metric.weights())
    chosen = [index for index, label in enumerate(metric.structures) if label in node.structures]
    if not chosen:
        raise ConfigError(
            f"scheme {node.name or node.type}: found structures {', '.join(node.structures)}; expected some of "
            f"those of "
            f"{name}: {', '.join(metric.structures)}"
        )
    part = Metric(
        spec=metric.spec,
        structures=tuple(metric.structures[index] for index in chosen),
        values=metric.values[:, chosen],
        numerator=None if metric.numerator is None else metric.numerator[:, chosen],
        denominator=None if metric.denominator is None else metric.denominator[:, chosen],
    )
    return Block(metric=part, values=part.values[None], level="case", weights=part.weights())


def ladder(node: Node) -> tuple[str, ...]:
    """The levels of units, lowest first."""
    return tuple(level for level in node.levels if level != "structure")


def kept_level(node: Node) -> str | None:
    """The level of units at which ranks are taken. `None` when all units are aggregated first."""
    return next((level for level in ladder(node) if level in node.rank_at), None)


def climb_to_ranks(block: Block, node: Node, prepared: Prepared, draws: Draws | None) -> Block:
    """Aggregate everything `rank_at` does not keep and that lies below what it keeps."""
    kept = kept_level(node)
    for step in node.levels:
        if step == "structure" and "structure" not in node.rank_at:
            block = merge_structures(block, node.aggregate.get(step, MEAN))
        elif step == block.level and step != kept:
            block = rise(block, node, prepared, draws, how=node.aggregate.get(step, MEAN))
    return block


def climb_to_top(block: Block, node: Node, prepared: Prepared, draws: Draws | None) -> Block:
    """Aggregate everything that is left: the node's own way for values, means for ranks."""
    for step in node.levels:
        if step == "structure":
            block = merge_structures(block, node.aggregate.get(step, MEAN))
        elif step == block.level:
            block = rise(block, node, prepared, draws, how=node.aggregate.get(step, MEAN))
    return block


def climb_to_cluster(block: Block, node: Node, prepared: Prepared) -> Block:
    """Aggregate to the units that tests treat as independent. Structures too unless `rank_at` keeps them."""
    cluster = prepared.config.cluster
    for step in node.levels:
        if step == "structure" and "structure" not in node.rank_at:
            block = merge_structures(block, node.aggregate.get(step, MEAN))
        elif step == block.level and step != cluster and cluster in ladder(node):
            block = rise(block, node, prepared, None, how=node.aggregate.get(step, MEAN))
    if block.level == cluster:
        return block
    values = reduce_units(block.values, parents=prepared.members[cluster], how=MEAN)
    return replace(block, values=values, level=cluster, is_raw=False)


def merge_structures(block: Block, how: Aggregate) -> Block:
    """One value for all structures. Nothing happens when there is only one."""
    if block.values.shape[2] == 1:
        return replace(block, weights=(1.0,))
    values = reduce_structures(block.values, weights=block.weights, how=how)
    return replace(block, values=values, weights=(1.0,), is_raw=False)


def rise(block: Block, node: Node, prepared: Prepared, draws: Draws | None, *, how: Aggregate) -> Block:
    """Aggregate the units of the block's level into those of the next one."""
    level = block.level
    steps = ladder(node)
    if level is None:
        return block
    upper = next(iter(steps[steps.index(level) + 1 :]), None)
    parents = prepared.parents(level, upper)
    weights = unit_weights(block, node, prepared, draws)
    metric = block.metric
    if block.is_raw and metric.numerator is not None and metric.denominator is not None:
        sums = (
            reduce_units(part[None], parents=parents, how=_SUM, weights=weights)
            for part in (metric.numerator, metric.denominator)
        )
        values = ratio(*sums)
    else:
        values = reduce_units(block.values, parents=parents, how=how, weights=weights)
    is_drawn = block.is_drawn or (weights is not None and not _only_raters(level, prepared, draws))
    return replace(block, values=values, level=upper, is_raw=False, is_drawn=is_drawn)


def unit_weights(block: Block, node: Node, prepared: Prepared, draws: Draws | None) -> Floats | None:
    """Draw × unit multiplicities if they enter at the block's level, else `None`."""
    cluster = prepared.config.cluster
    if draws is None or block.is_drawn or block.level is None:
        return None
    if _only_raters(block.level, prepared, draws):
        return draws.raters
    if block.level == cluster:
        return draws.multiplicities
    if block.level == "case" and cluster not in ladder(node):
        return draws.multiplicities[:, prepared.members[cluster]]
    return None


def _only_raters(level: str, prepared: Prepared, draws: Draws | None) -> bool:
    """Whether what enters at this level is how often raters were drawn. The clusters enter further up."""
    return draws is not None and draws.raters is not None and level == "case" and prepared.config.cluster != "case"


def standing_weights(block: Block, node: Node, prepared: Prepared, draws: Draws | None) -> Floats | None:
    """Draw × unit: how often each unit of the block was drawn, where units stay as they are and climb no further."""
    if draws is None or block.is_drawn or block.level is None:
        return None
    steps, cluster = ladder(node), prepared.config.cluster
    if cluster not in steps or steps.index(cluster) <= steps.index(block.level):
        return unit_weights(block, node, prepared, draws)
    parents = prepared.parents(block.level, cluster)
    drawn = draws.multiplicities if parents is None else draws.multiplicities[:, parents]
    return drawn if draws.raters is None or block.level != "case" else drawn * draws.raters
