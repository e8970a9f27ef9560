"""Reading a document that people wrote: every refusal names the path, what was found and what was expected."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from reprlib import Repr
from typing import Any, TypeVar

from evaluator.ranking.errors import ConfigError

_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)

LARGEST = 2**31 - 1


class Section:
    """A mapping of the document that knows its path and refuses keys nobody asked for."""

    def __init__(self, document: Any, path: str) -> None:
        if not isinstance(document, Mapping):
            raise ConfigError(f"{path}: found {show(document)}; expected a mapping")
        self._document = document
        self.path = path
        self._asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """The raw value. Asking makes the key known."""
        self._asked.add(key)
        return self._document.get(key, default)

    def has(self, key: str) -> bool:
        """Whether the document says anything under this key."""
        self._asked.add(key)
        return key in self._document

    def number(self, key: str, default: _T, *, minimum: float | None = None) -> float | _T:
        """A finite number, or the default when the key is absent."""
        if not self.has(key):
            return default
        return number(self.get(key), f"{self.path}.{key}", minimum=minimum)

    def integer(self, key: str, default: int, *, minimum: int = 0, maximum: int = LARGEST) -> int:
        """A whole number within bounds: what is written here decides how much work a ranking is."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ConfigError(f"{self.path}.{key}: found {show(value)}; expected a whole number of at least {minimum}")
        if value > maximum:
            raise ConfigError(f"{self.path}.{key}: found more than {maximum}; expected at most {maximum}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.path}.{key}: found {show(value)}; expected true or false")
        return value

    def text(self, key: str, default: str = "") -> str:
        """A string."""
        value = self.get(key, default)
        if not isinstance(value, str):
            raise ConfigError(f"{self.path}.{key}: found {show(value)}; expected text")
        return value

    def choice(self, key: str, choices: type[_E], default: _E) -> _E:
        """One of a closed list."""
        value = self.get(key, default.value)
        if value not in [choice.value for choice in choices]:
            expected = ", ".join(choice.value for choice in choices)
            raise ConfigError(f"{self.path}.{key}: found {show(value)}; expected one of {expected}")
        return choices(value)

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names. One name may stand alone."""
        value = self.get(key, ())
        if isinstance(value, str):
            value = (value,)
        if not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{self.path}.{key}: found {show(value)}; expected a list of names")
        return tuple(value)

    def each(self, key: str, parse: Callable[[Any, str], _T]) -> tuple[_T, ...]:
        """Every item of a list, parsed with its own path."""
        value = self.get(key, ())
        if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
            raise ConfigError(f"{self.path}.{key}: found {show(value)}; expected a list")
        return tuple(parse(item, f"{self.path}.{key}[{index}]") for index, item in enumerate(value))

    def done(self) -> None:
        """Refuse what was never asked for: a misspelt key must not silently change a ranking."""
        unknown = sorted(str(key)[:80] for key in self._document if key not in self._asked)
        if unknown:
            raise ConfigError(
                f"{self.path}: found {', '.join(unknown)[:500]}; expected only {', '.join(sorted(self._asked))}"
            )


def number(value: Any, path: str, *, minimum: float | None = None) -> float:
    """A finite number, at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        raise ConfigError(f"{path}: found {show(value)}; expected a number")
    if minimum is not None and value < minimum:
        raise ConfigError(f"{path}: found {value:g}; expected at least {minimum:g}")
    return float(value)


_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 3, 6, 6, 6
_SHORT.maxstring = _SHORT.maxother = 80


def show(value: Any) -> str:
    """A value as a message shows it, cut before it is written out."""
    return "nothing" if value is None else _SHORT.repr(value)[:500]
