"""One container in its sandbox. `runner` opens with the theory of operation."""

from containers.sandbox.runner import remove_strays, run
from containers.sandbox.workspace import sweep

__all__ = ["remove_strays", "run", "sweep"]
