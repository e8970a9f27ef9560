"""The metrics: their registry, their formulas, and the geometry the formulas need."""

from evaluator.metrics.registry import REGISTRY, Direction, Metric, Scope

__all__ = ["REGISTRY", "Direction", "Metric", "Scope"]
