"""The rules of a phase by click: metrics, tolerances, limits, release and ranking, with a rank table on sample scores.

The choices come from the evaluator's registry and its presets. What is chosen is written into the protocol of the challenge file. The
preview ranks made-up scores with the very engine that ranks the phase.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from assay.accounts.errors import AssayError, InvalidError
from assay.challenges.access import get_organized_phase
from assay.challenges.definition import parse_definition
from assay.challenges.models import Challenge, Phase
from assay.challenges.protocols import rules_of
from assay.organizers.desk import Desk
from assay.organizers.desk_fields import NONE, Field, Group
from assay.organizers.views import frame, or_the_file
from assay.submissions.code_parts import code_parts_of
from assay.submissions.models import CodePart
from evaluator.documents import Pointer, read_document
from evaluator.errors import EvaluatorError
from evaluator.metrics import REGISTRY, Direction, Scope
from evaluator.protocol import Protocol
from evaluator.ranking import RankingConfig, ScoreTable, in_words, parse_ranking, preset_titles, rank_algorithms

KEEP = "keep"
SAMPLE_CASES = 12
SAMPLE_TEAMS = ("A", "B", "C", "D", "E")
SCHEMES: Mapping[str, tuple[Mapping[str, Any], str | Promise]] = {
    "value": ({"scheme": {"type": "value"}}, gettext_lazy("by the mean of the first metric")),
    "mean_of_ranks": (
        {"scheme": "mean_of_ranks"},
        gettext_lazy("mean over cases, then a rank in each metric and structure, then the mean of the ranks"),
    ),
    "rank_per_case": (
        {"scheme": {"type": "mean_of_ranks", "rank_at": ["case"]}},
        gettext_lazy("a rank in each case, then the mean of the ranks"),
    ),
    "significance": (
        {"scheme": {"type": "significance"}},
        gettext_lazy("by how many others a team is significantly better than"),
    ),
}
RELEASES = (
    ("verdict_only", gettext_lazy("a verdict only")),
    ("aggregate", gettext_lazy("means over the cases")),
    ("per_case", gettext_lazy("means and single cases")),
    ("ladder", gettext_lazy("the best score in steps (ladder)")),
)
LIMITS = (
    Field("wall_seconds", "number", gettext_lazy("Time in seconds")),
    Field("memory_mb", "number", gettext_lazy("Memory in MB")),
    Field("cpus", "number", gettext_lazy("Processors")),
    Field("gpus", "number", gettext_lazy("GPUs")),
)


@dataclass(frozen=True, kw_only=True)
class PreviewRow:
    """One made-up team."""

    rank: str
    name: str
    means: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The rank table of made-up scores under the chosen rules."""

    words: str
    metrics: tuple[str, ...]
    rows: tuple[PreviewRow, ...]


def metric_choices(held: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """What can be chosen: metrics of one structure, and whatever the phase has already."""
    offered = [
        metric
        for metric in REGISTRY.values()
        if metric.name in held
        or (metric.scope is Scope.LABEL and metric.direction is not Direction.NONE and metric.compute is not None)
    ]
    return tuple((metric.name, metric.title) for metric in offered)


class Rules(Desk):
    """The form over the protocol that a phase is scored by."""

    def __init__(self, request: HttpRequest, phase: Phase) -> None:
        self.document: Mapping[str, Any] = rules_of(phase.protocol).document
        self.held_metrics = {entry["name"]: bare(entry, name=entry["name"]) for entry in self.document["metrics"]}
        self.labels = {label["name"]: label for label in self.document["labels"]}
        super().__init__(request, phase.challenge, groups=self._groups(phase.challenge), path=())
        slugs = [row.slug for row in self.definition.phases]
        own: Pointer = ("phases", slugs.index(phase.slug), "protocol")
        self.protocol_path = own if phase_has_own(self.source, own) else ("protocol",)
        self.path = self.protocol_path

    def _groups(self, challenge: Challenge) -> tuple[Group, ...]:
        labels = tuple(
            Field(
                f"tolerance:{name}",
                "text",
                _("%(structure)s: tolerance in mm") % {"structure": name},
                _("label values %(values)s") % {"values": ", ".join(map(str, label["values"]))},
            )
            for name, label in self.labels.items()
        )
        rankings = [(KEEP, gettext_lazy("as it is now")), *((name, words) for name, (_doc, words) in SCHEMES.items())]
        rankings += [(f"preset:{name}", title) for name, title in preset_titles().items()]
        measured = gettext_lazy("What is measured, the first one decides where one decides")
        metrics = Field("metrics", "some", measured, choices=metric_choices(list(self.held_metrics)))
        ranking = Field("ranking", "choice", gettext_lazy("Ranked"), choices=rankings)
        release = Field("release", "choice", gettext_lazy("Teams see during the phase"), choices=RELEASES)
        code = tuple(code_fields(challenge))
        return (
            Group(gettext_lazy("Metrics"), (metrics,)),
            Group(gettext_lazy("Structures"), labels),
            Group(gettext_lazy("Ranking"), (ranking,)),
            Group(gettext_lazy("Limits of a container"), LIMITS),
            Group(gettext_lazy("Release"), (release,)),
            *((Group(gettext_lazy("Submissions of code"), code),) if code else ()),
        )

    def _held(self, name: str) -> Any:
        kind, _colon, label = name.partition(":")
        if kind == "tolerance":
            return self.labels[label]["tolerance_mm"]
        if name == "metrics":
            return [metric for metric, _words in metric_choices(list(self.held_metrics)) if metric in self.held_metrics]
        if name == "ranking":
            return KEEP
        if name == "release":
            return self.document["release"]["mode"]
        return self.document["resources"].get(name)

    def edits(self) -> dict[Pointer, Any]:
        """What was chosen, by its place in the protocol."""
        at = self.protocol_path
        found: dict[Pointer, Any] = {}
        tolerances: dict[str, float | str | None] = {}
        for name, row in self.rows.items():
            if not row.is_changed:
                continue
            kind, _colon, label = name.partition(":")
            value = row.field.value(row.text)
            if kind == "tolerance":
                tolerances[label] = number_of(row.text)
            elif name == "metrics":
                found[(*at, "metrics")] = [self.held_metrics.get(metric, {"name": metric}) for metric in value or []]
            elif name == "ranking":
                found[(*at, "ranking")] = ranking_of(row.text, metrics=self.chosen_metrics())
            elif name == "release":
                found[(*at, "release")] = value
            else:
                found[(*at, "resources", name)] = value
        return found | self._tolerances(tolerances)

    def _tolerances(self, wanted: Mapping[str, float | str | None]) -> dict[Pointer, Any]:
        """Each at its place where the file writes the structure out. Else all structures, as they are."""
        at = (*self.protocol_path, "labels")
        places = read_document(self.source).places
        if all((*at, name, "tolerance_mm") in places for name in wanted):
            return {(*at, name, "tolerance_mm"): value for name, value in wanted.items()}
        labels = {
            name: {key: value for key, value in bare(label, name="").items() if key != "name"}
            for name, label in self.labels.items()
        }
        return {
            at: {
                name: label | ({"tolerance_mm": wanted[name]} if name in wanted else {})
                for name, label in labels.items()
            }
        }

    def chosen_metrics(self) -> list[str]:
        """The ids of the metrics that are ticked."""
        return [str(self.held_metrics.get(name, {}).get("id") or name) for name in self.rows["metrics"].chosen if name]

    def key_of(self, path: Pointer) -> str:
        """The field that stands for this place of the protocol."""
        first, *rest = (str(step) for step in path)
        if first == "labels" and rest:
            return f"tolerance:{rest[0]}"
        return rest[0] if first == "resources" and rest else first


def code_fields(challenge: Challenge) -> Iterator[Field]:
    """What code is built from, where something was pushed for it."""
    words = {
        CodePart.Kind.BASE: gettext_lazy("Teams hand in code, which runs on"),
        CodePart.Kind.WHEELS: gettext_lazy("Packages come from"),
    }
    parts = code_parts_of(challenge)
    for kind, name in ((CodePart.Kind.BASE, "code_base"), (CodePart.Kind.WHEELS, "code_wheels")):
        choices = [
            (part.identity, f"{part.version}: {part.filename}, {part.identity[:19]}…")
            for part in parts
            if part.kind == kind
        ]
        if choices:
            yield Field(name, "choice", words[kind], choices=[NONE, *choices])


def bare(entry: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """An entry of the stored protocol as somebody would write it: without what is so anyway."""
    usual: tuple[Any, ...] = (None, [], {}, "none")
    return {key: value for key, value in entry.items() if value not in usual and not (key == "id" and value == name)}


def phase_has_own(source: str, path: Pointer) -> bool:
    """Whether the phase writes a protocol of its own."""
    from_file: Any = read_document(source).value
    for step in path:
        from_file = from_file.get(step) if isinstance(from_file, dict) else from_file[step]
        if from_file is None:
            return False
    return True


def number_of(text: str) -> float | str | None:
    """A number, or what was typed instead, about which the file's reader complains."""
    try:
        return float(text) if text else None
    except ValueError:
        return text


def ranking_of(choice: str, *, metrics: Sequence[str]) -> dict[str, Any]:
    """The ranking document that a choice stands for. A missing value is the worst there is."""
    if choice.startswith("preset:"):
        return {"preset": choice.removeprefix("preset:")}
    if choice not in SCHEMES:
        raise InvalidError(_("There is no such ranking."), found=choice or "–", expected=", ".join(SCHEMES))
    document = dict(SCHEMES[choice][0])
    if choice == "value":
        document["scheme"] = {"type": "value", "metrics": list(metrics[:1])}
    return {"metrics": list(metrics), "missing": {"any": "rank_last"}, **document}


def preview_of(protocol: Protocol) -> Preview:
    """Five made-up teams on twelve made-up cases, ranked by these rules. The same rules give the same table."""
    config = parse_ranking(protocol.ranking)
    table = sample_scores(protocol, config=config)
    ranking = {entry.algorithm: entry for entry in rank_algorithms(table, config).entries}
    metrics = [spec.id for spec in config.metrics if spec.id in table.metrics]
    order = sorted(ranking.values(), key=lambda entry: (entry.rank is None, entry.rank or 0.0, entry.algorithm))
    return Preview(
        words=in_words(config),
        metrics=tuple(metrics),
        rows=tuple(
            PreviewRow(
                rank="–" if entry.rank is None else f"{entry.rank:g}",
                name=entry.algorithm,
                means=tuple(mean_of(table, metric=metric, team=entry.algorithm) for metric in metrics),
            )
            for entry in order
        ),
    )


def sample_scores(protocol: Protocol, *, config: RankingConfig) -> ScoreTable:
    """Scores in which no team is best everywhere, and one has failed in a case."""
    rows = []
    for metric in config.metrics:
        draw = random.Random(metric.id)  # noqa: S311  # a sample, no secret
        for at, team in enumerate(SAMPLE_TEAMS):
            skill = draw.gauss(0.8 - at / 25, 0.05)
            for case in range(1, SAMPLE_CASES + 1):
                for label in protocol.labels:
                    share = min(0.99, max(0.01, draw.gauss(skill, 0.08)))
                    value = share if metric.larger_is_better else round(30 * (1 - share), 3)
                    failed = team == SAMPLE_TEAMS[-1] and case == 1
                    rows.append((team, f"case {case}", label.name, metric.id, None if failed else value, ""))
    return ScoreTable.from_rows(rows)


def mean_of(table: ScoreTable, *, metric: str, team: str) -> float | None:
    """The mean over cases and structures."""
    values = table.metrics[metric].values[table.algorithms.index(team)]
    known = [float(value) for value in values.ravel() if not math.isnan(value)]
    return sum(known) / len(known) if known else None


@or_the_file
def rules(request: HttpRequest, slug: str, phase_slug: str) -> HttpResponse:
    """The form, its preview, and a save."""
    phase, user = get_organized_phase(person=request.user, challenge_slug=slug, phase_slug=phase_slug)
    desk = Rules(request, phase)
    if "preview" not in request.POST and desk.is_saved(user):
        return redirect("organizers:rules", slug, phase_slug)
    page = frame(phase.challenge, tab="overview", phase=phase) | desk.page()
    try:
        definition = parse_definition(desk.text())
        protocol = next(row.protocol for row in definition.phases if row.slug == phase_slug)
        page["preview"] = preview_of(protocol)
    except (AssayError, EvaluatorError) as error:
        page["no_preview"] = str(error)
    if "preview" in request.POST:
        return render(request, "organizers/_rank_preview.html", page)
    page["judged"] = phase.submissions.count()
    return render(request, "organizers/rules.html", page, status=page["status"])
