"""What a case of a phase needs of a machine, beyond the number of its GPUs: words such as `gpu=A100`, `gpu_memory_gb=40`, `memory_gb=64`.

A gigabyte is 10⁹ bytes: a card that is sold with 40 GB has them by this count, and not by the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.text import get_text_list
from django.utils.translation import gettext as _

LARGEST = 100_000
NUMBERS = ("gpu_memory_gb", "driver", "cpus", "memory_gb")
LONGEST_NAME = 60
EXPECTED = "gpu=A100, gpu_memory_gb=40, driver=535, cpus=8, memory_gb=64"


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What every machine has to have that runs a case of the phase. Nothing and 0: whatever it has."""

    gpu: str = ""
    """Part of the model's name as the driver says it, in any case of letters."""
    gpu_memory_gb: int = 0
    driver: int = 0
    """The oldest driver, by the first part of its version."""
    cpus: int = 0
    memory_gb: int = 0

    @classmethod
    def of(cls, words: Iterable[str]) -> "Needs":
        """From the phase's words. Raises ValueError with the word that means nothing."""
        found: dict[str, str | int] = {}
        for word in words:
            name, sign, value = (part.strip() for part in word.partition("="))
            is_number = name in NUMBERS and value.isascii() and value.isdigit() and 0 < int(value) <= LARGEST
            is_name = name == "gpu" and 0 < len(value) <= LONGEST_NAME
            if not sign or name in found or not (is_number or is_name):
                raise ValueError(word)
            found[name] = int(value) if is_number else value
        return cls(**found)  # type: ignore[arg-type]  # each name has been looked at above

    @property
    def names_a_gpu(self) -> bool:
        """Whether a machine without a GPU cannot serve."""
        return bool(self.gpu or self.gpu_memory_gb or self.driver)

    def in_words(self, *, gpus: int = 0) -> str:
        """For people, such as "1 GPU (A100, 40 GB, driver 535 or newer), 8 processors and 64 GB of memory"."""
        count = max(gpus, 1) if self.names_a_gpu else gpus
        card = [self.gpu] if self.gpu else []
        card += [_("%(size)s GB") % {"size": self.gpu_memory_gb}] if self.gpu_memory_gb else []
        card += [_("driver %(version)s or newer") % {"version": self.driver}] if self.driver else []
        parts = [f"{count} GPU{'s' if count > 1 else ''}" + (f" ({', '.join(card)})" if card else "")] if count else []
        parts += [_("%(count)s processors") % {"count": self.cpus}] if self.cpus else []
        parts += [_("%(size)s GB of memory") % {"size": self.memory_gb}] if self.memory_gb else []
        return get_text_list(parts, _("and"))
