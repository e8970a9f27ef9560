"""What was released before, and whether a further release may stand beside it: versions of the data, and other groupings.

Two versions of a hospital's data share patients. An algorithm gives a patient the same value in both, so the difference of two released
sums is a sum over the patients that came, went or changed. The same holds for two groupings of the same patients. Patients of one kind
are those whom everything released treats alike: in the same versions, with the same content, in the same blocks. The rule for further
releases is then: every kind holds no patient or at least `k`. Where only two groupings are left, the minimum cut is enough.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, TypeVar

from evaluator.disclosure.cuts import fewest_patients

ABSENT = "absent"
Content = TypeVar("Content", bound=Mapping[str, Any])


@dataclass(frozen=True, kw_only=True)
class Told:
    """How one release of one metric divided the patients. It stays at the hospital. Patients have keyed names."""

    patients: Mapping[str, str]
    """Every patient of that version → hash of everything about the patient."""
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Label → patients without a value of it. The empty label: patients without any value."""
    groupings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Attribute → patient → shown group. Patients of hidden groups have the empty one."""

    asked: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Attribute → patient → group, of all attributes that the rules ask for, withheld ones too."""

    def to_json(self) -> dict[str, Any]:
        """For the file of a draft."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """As it was written down."""
        return cls(**{item.name: document[item.name] for item in fields(cls)})


class History:
    """Earlier releases of one metric, beside the data of today."""

    def __init__(
        self,
        told: Sequence[Told],
        *,
        patients: Mapping[str, str],
        groups: Mapping[str, Mapping[str, str]],
        smallest: int,
    ) -> None:
        """`patients`: today's patients → hash of everything about the patient. `groups`: attribute of the rules → patient → group.

        Earlier releases of the same data that asked for the same groups say nothing new: each release is safe by itself.
        """
        self._told = told
        self._patients = patients
        self._smallest = smallest
        versions = _distinct([*(earlier.patients for earlier in told), patients])
        self._everybody = sorted(set[str]().union(*versions))
        self._life = {name: _life(name, versions) for name in self._everybody}
        self.has_versions = len(set(self._life.values())) > 1
        others = told if self.has_versions else [one for one in told if not _asks_the_same(one.asked, groups)]
        earlier = [self._everybody_in(of) for one in others for of in one.groupings.values()]
        if self.has_versions:
            earlier += [self._everybody_in(_classes(one)) for one in told]
        self._groupings: list[Mapping[str, Hashable]] = [self._life, *_distinct(earlier)]

    def _everybody_in(self, of: Mapping[str, Hashable]) -> dict[str, Hashable]:
        return {name: of.get(name, ABSENT) for name in self._everybody}

    def admits_total(self, defined: AbstractSet[str]) -> bool:
        """Whether a sum over these patients may be released. A total of the same data is always known already."""
        if not self.has_versions:
            return True
        return self._holds(self._groupings) and self._enough(defined) and self._enough_left()

    def admits_labels(self, having: Mapping[str, AbstractSet[str]], *, defined: AbstractSet[str]) -> bool:
        """Whether sums per label may be released. With versions of the data every patient must have every label."""
        if not self.has_versions:
            return True
        alike = all(set(names) == defined for names in having.values())
        return alike and all(len({frozenset(lacking) for lacking in one.lacking.values()}) <= 1 for one in self._told)

    def admits_grouping(self, blocks: Mapping[str, Hashable], *, defined: AbstractSet[str]) -> bool:
        """Whether sums by one further grouping may be released. They count from now on if so."""
        if not self._told:
            return True
        whole = self._everybody_in(blocks)
        together = [*self._groupings, whole]
        if not self._holds(together) or not self._holds(together, among=self._with_a_value(defined)):
            return False
        for block in set(blocks.values()):
            if not self._enough({name for name in defined if blocks[name] == block}):
                return False
        self._groupings = together
        return True

    def _enough(self, defined: AbstractSet[str]) -> bool:
        """No kind of patients by their versions has 1 to k - 1 of these, so that a difference of versions is about enough of them."""
        if not self.has_versions:
            return True
        return self._all_large(Counter(self._life[name] for name in defined))

    def _enough_left(self) -> bool:
        """The same for patients that are no longer there, in every block in which they were released."""
        for earlier in self._told:
            gone = {name for name in earlier.patients if self._patients.get(name) != earlier.patients[name]}
            for lacking in earlier.lacking.values():
                left = gone - set(lacking)
                for of in (dict.fromkeys(left, ""), *earlier.groupings.values()):
                    if not self._all_large(Counter((self._life[name], of.get(name, "")) for name in left)):
                        return False
        return True

    def _with_a_value(self, defined: AbstractSet[str]) -> list[str]:
        """The patients that any sum contains: they have a value today or had one in an earlier release."""
        had = (earlier.patients.keys() - set(earlier.lacking.get("", ())) for earlier in self._told)
        return sorted(set(defined).union(*had))

    def _holds(self, groupings: Sequence[Mapping[str, Hashable]], *, among: Sequence[str] | None = None) -> bool:
        """Whether no combination depends on 1 to k - 1 of these patients. Counts are about everybody, sums about patients with a value."""
        names = self._everybody if among is None else among
        finest = without_coarser([[of[name] for name in names] for of in groupings])
        if not all(self._all_large(Counter(blocks)) for blocks in finest):
            return False
        if len(finest) == 2 and fewest_patients(*finest) >= self._smallest:
            return True
        return self._all_large(Counter(zip(*finest, strict=True)))

    def _all_large(self, sizes: Mapping[Any, int]) -> bool:
        return min(sizes.values(), default=self._smallest) >= self._smallest


def _asks_the_same(one: Mapping[str, Mapping[str, str]], other: Mapping[str, Mapping[str, str]]) -> bool:
    return list(one) == list(other) and all(one[name] == other[name] for name in one)


def _classes(told: Told) -> dict[str, Hashable]:
    """Patients by the labels that they lack: label means divided them so."""
    return {name: tuple(label for label, lacking in told.lacking.items() if name in lacking) for name in told.patients}


def _life(name: str, versions: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
    """In which versions a patient is, and where the content changed: -1 for absent, then a number per content."""
    contents: dict[str, int] = {}
    return tuple(contents.setdefault(version[name], len(contents)) if name in version else -1 for version in versions)


def _distinct(mappings: Iterable[Content]) -> list[Content]:
    found: list[Content] = []
    for mapping in mappings:
        if mapping not in found:
            found.append(mapping)
    return found


def without_coarser(groupings: Sequence[Sequence[Hashable]]) -> list[Sequence[Hashable]]:
    """The groupings that no other one refines: the sums of a coarser one are sums of the finer one's sums."""
    kept: list[Sequence[Hashable]] = []
    for grouping in sorted(groupings, key=lambda blocks: -len(set(blocks))):
        if not any(refines(finer, grouping) for finer in kept):
            kept.append(grouping)
    return kept


def refines(finer: Sequence[Hashable], coarser: Sequence[Hashable]) -> bool:
    """Whether every block of one lies in a block of the other."""
    return len(set(zip(finer, coarser, strict=True))) == len(set(finer))
