"""One container in its sandbox. `runner` opens with the theory of operation."""

from containers.sandbox.runner import remove_leftovers, run
from containers.sandbox.workspace import sweep

__all__ = ["remove_leftovers", "run", "sweep"]
