"""The facts table of a phase's rules, filled in from the protocol document that runs: never typed by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop as noop

from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.disclosure import release_of
from evaluator.protocol import (
    SITUATIONS,
    Defect,
    LabelSpec,
    MetricSpec,
    Mode,
    OutputKind,
    Protocol,
    Situation,
    worth_words,
)
from evaluator.ranking import in_words, parse_ranking
from evaluator.scoring import gains_of_leaving_out

MOST_PATHS = 1000
ANY_CASE = "CASE"
SITUATION_WORDS = (
    noop("Structure absent, and none predicted"),
    noop("Structure absent, but something predicted"),
    noop("Structure present, nothing predicted"),
    noop("No usable prediction: time limit, crash, missing or unusable file"),
)
"""The evaluator's words for situations, marked here since the evaluator knows no Django."""
RELEASES = {
    "verdict_only": _("a verdict only; scores are never shown"),
    "aggregate": _("averages over the hidden cases"),
    "per_case": _("averages and every case's values"),
    "ladder": _("your best score, updated only when clearly better (the ladder)"),
}


@dataclass(frozen=True, kw_only=True)
class LabelFact:
    """One structure."""

    name: str
    values: str
    tolerance_mm: float | None


@dataclass(frozen=True, kw_only=True)
class MetricFact:
    """One metric as this protocol computes it."""

    title: str
    unit: str
    direction: str
    definition: str


@dataclass(frozen=True, kw_only=True)
class ConventionFact:
    """What each metric is worth in one situation."""

    words: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Caveats:
    """What one should know before believing a phase's ranking: defects that are in force on purpose, and facts nobody confirmed."""

    defects: tuple[str, ...]
    gains: tuple[str, ...]
    unconfirmed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.defects or self.unconfirmed)


@dataclass(frozen=True, kw_only=True)
class FactSheet:
    """Everything that decides a score in one phase."""

    phase: Phase
    protocol_version: int
    protocol_sha256: str
    caveats: Caveats
    labels: tuple[LabelFact, ...]
    metrics: tuple[MetricFact, ...]
    conventions: tuple[ConventionFact, ...]
    ranking_words: str
    limits: tuple[tuple[str, str], ...]
    tree: str


def fact_sheet(phase: Phase) -> FactSheet:
    """The sheet of one phase, from its protocol version."""
    protocol = rules_of(phase.protocol)
    takes_containers = phase.kind == Phase.Kind.CONTAINER
    return FactSheet(
        phase=phase,
        protocol_version=phase.protocol.version,
        protocol_sha256=phase.protocol.sha256,
        caveats=caveats_of(phase),
        labels=tuple(_label_fact(label) for label in protocol.labels),
        metrics=tuple(_metric_fact(metric) for metric in protocol.metrics),
        conventions=tuple(_convention_fact(protocol, situation) for situation in Situation),
        ranking_words=ranking_words(protocol),
        limits=_limits(protocol),
        tree=container_tree(protocol) if takes_containers else archive_tree(expected_files(protocol, [ANY_CASE])),
    )


def caveats_of(phase: Phase) -> Caveats:
    """Defects of the published code where the phase follows it, what leaving a case out would gain, and unconfirmed facts."""
    protocol = rules_of(phase.protocol)
    is_published = protocol.mode is Mode.PUBLISHED
    return Caveats(
        defects=tuple(_defect_words(defect) for defect in protocol.defects if is_published),
        gains=tuple(str(gain) for gain in gains_of_leaving_out(protocol) if gain.is_gain),
        unconfirmed=tuple(protocol.document["unconfirmed"]),
    )


def _defect_words(defect: Defect) -> str:
    if not defect.example:
        return defect.what
    return gettext("%(what)s For example, %(example)s.") % {"what": defect.what, "example": defect.example}


def release_words(phase: Phase) -> str:
    """What participants get to see, and when."""
    mode = release_of(phase.protocol)
    return str(RELEASES.get(mode, mode))


def ranking_words(protocol: Protocol) -> str:
    """The ranking in words, from the configuration that ranks."""
    return in_words(parse_ranking(protocol.ranking))


def container_tree(protocol: Protocol) -> str:
    """What the container finds and has to write, with one example name."""
    resources = protocol.resources
    lines = [f"{resources.input_mount}/  (read-only)"]
    lines += [f"  {i.file.format(case='case')}{'' if i.required else '  (may be missing)'}" for i in protocol.inputs]
    lines.append(f"{resources.output_mount}/")
    structures = [label.name for label in protocol.labels]
    for wanted in protocol.outputs:
        names = structures if wanted.kind is OutputKind.MASK_PER_STRUCTURE else structures[:1]
        lines.extend(f"  {wanted.file.format(case='case', structure=name)}" for name in names)
    return "\n".join(dict.fromkeys(lines))


def expected_files(protocol: Protocol, case_ids: Sequence[str]) -> list[str]:
    """The paths that an archive of predictions has to hold for these cases."""
    return list(dict.fromkeys(path for case_id in case_ids for path in protocol.archive_files(case_id).values()))


def archive_tree(paths: Sequence[str]) -> str:
    """The paths of an archive, one a line. Long lists end with how many are left out."""
    left_out = [f"… and {len(paths) - MOST_PATHS} more"] if len(paths) > MOST_PATHS else []
    return "\n".join([*paths[:MOST_PATHS], *left_out])


def _label_fact(label: LabelSpec) -> LabelFact:
    values = ", ".join(str(value) for value in label.values)
    if label.channel is not None:
        values = gettext("channel %(number)s") % {"number": label.channel}
    return LabelFact(name=label.name, values=values, tolerance_mm=label.tolerance_mm)


def _metric_fact(spec: MetricSpec) -> MetricFact:
    metric = spec.metric
    options = ", ".join(f"{key} {value}" for key, value in spec.options.items() if value is not None)
    rounded = (
        " " + gettext("Rounded to %(count)s digits.") % {"count": spec.rounding} if spec.rounding is not None else ""
    )
    definition = f"{metric.definition}{f' ({options})' if options else ''}{rounded}"
    return MetricFact(title=metric.title, unit=metric.unit, direction=str(metric.direction), definition=definition)


def _convention_fact(protocol: Protocol, situation: Situation) -> ConventionFact:
    worths = [protocol.conventions.worth(situation, metric_id=spec.id) for spec in protocol.metrics]
    return ConventionFact(words=gettext(SITUATIONS[situation]), values=tuple(worth_words(worth) for worth in worths))


def _limits(protocol: Protocol) -> tuple[tuple[str, str], ...]:
    resources = protocol.resources
    return (
        (gettext("Time"), f"{resources.wall_seconds:g} s"),
        (gettext("Memory"), f"{resources.memory_mb} MB"),
        (gettext("Processors"), str(resources.cpus)),
        (gettext("GPUs"), str(resources.gpus) if resources.gpus else gettext("none")),
        (gettext("Shared memory"), f"{resources.shm_mb} MB"),
        (gettext("Temporary files (/tmp)"), f"{resources.tmp_mb} MB"),
        (gettext("Output"), f"{resources.output_mb} MB"),
        (gettext("One container per"), gettext("case") if resources.run_mode == "case" else resources.run_mode),
    )
