"""Arrays and arithmetic: metrics, scoring, ranking, reports. Knows nothing of Django, Docker or the network."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluator.api import Scores, evaluate
    from evaluator.identity import source_sha256

__all__ = ["Scores", "__version__", "evaluate", "source_sha256"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`evaluator.evaluate` and `evaluator.Scores`, imported when first asked for: other rooms need only a part of us."""
    if name == "source_sha256":
        from evaluator.identity import source_sha256

        return source_sha256
    if name in ("Scores", "evaluate"):
        from evaluator import api

        return getattr(api, name)
    raise AttributeError(f"module 'evaluator' has no attribute {name!r}")
