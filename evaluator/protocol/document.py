"""The normal form of a protocol document: every default written out, every shorthand spelled out, meaning checked.

The form keeps order in lists only: databases and JSON libraries do not keep the order of keys.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from evaluator.documents import Pointer
from evaluator.errors import ProtocolError, Reason
from evaluator.metrics.registry import REGISTRY, Metric, Scope
from evaluator.protocol.conventions import Situation, default_value
from evaluator.protocol.definitions import PRESETS, Preset
from evaluator.protocol.modes import Mode, normal_defects
from evaluator.protocol.source import Marks, locate

_RESOURCES: dict[str, Any] = {
    "run_mode": "case",
    "wall_seconds": 600.0,
    "wall_seconds_per": "run",
    "total_seconds": None,
    "memory_mb": 8192,
    "gpu_memory_mb": None,
    "cpus": 1,
    "gpus": 0,
    "pids": 512,
    "shm_mb": 1024,
    "tmp_mb": 2048,
    "output_mb": 1024,
    "on_case_failure": "continue",
    "command": None,
    "environment": {},
    "input_mount": "/input",
    "input_aliases": [],
    "output_mount": "/output",
    "profile": "default",
}
_GEOMETRY: dict[str, Any] = {"compare": "grid", "corner_voxels": 0.1, "spacing_relative": 1e-3, "reorient": False}
_INTERACTION: dict[str, Any] = {
    "box": True,
    "prompts_file": "prompts.json",
    "previous_file": "{case}_previous.nii.gz",
}
_RELEASE: dict[str, Any] = {"mode": "per_case", "rounding": None, "delta": 0.01}
_EVALUATION: dict[str, Any] = {"memory_mb": 8192, "cpus": 1}
_FAILURE = re.compile(r"[a-z_]+(:[a-z_]+)?")
_METRIC_KEYS = frozenset({"name", "id", "rounding", "labels", "options"})


def normalise(document: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    """The normal form of a document that has passed the schema."""
    return _Normaliser(document, marks).run()


class _Normaliser:
    """One document on its way to the normal form. Holds the marks so that every complaint has a line."""

    def __init__(self, document: Mapping[str, Any], marks: Marks) -> None:
        self.document = document
        self.marks = marks

    def run(self) -> dict[str, Any]:
        given = self.document
        preset = self._preset()
        labels = self._labels()
        metrics = self._metrics(preset, labels)
        return self._label_rule(labels, metrics) | {
            "protocol": 1,
            "name": given["name"],
            "title": given.get("title", given["name"]),
            "version": given.get("version", 1),
            "description": given.get("description", ""),
            "sources": list(given.get("sources", [])),
            "unconfirmed": list(given.get("unconfirmed", [])),
            "mode": given.get("mode", Mode.CORRECTED.value),
            "defects": self._defects(),
            "preset": preset.name,
            "labels": labels,
            "ignored_values": sorted(given.get("ignored_values", [])),
            "unknown_values": given.get("unknown_values", "refuse"),
            "inputs": self._inputs(),
            "outputs": self._outputs(labels),
            "metrics": metrics,
            "conventions": self._conventions(preset, metrics),
            "geometry": self._geometry(preset),
            "resources": self._resources(),
            "interaction": self._interaction(),
            "ranking": self._ranking(metrics),
            "breakdowns": list(given.get("breakdowns", [])),
            "report": [self._section(index, item) for index, item in enumerate(given.get("report", []))],
            "release": self._release(),
            "evaluation": self._evaluation(metrics),
        }

    def error(self, path: Pointer, *, found: str, expected: str) -> ProtocolError:
        return locate(path, self.marks, found=found, expected=expected)

    def _geometry(self, preset: Preset) -> dict[str, Any]:
        geometry = {**_GEOMETRY, **preset.geometry, **self.document.get("geometry", {})}
        if geometry["reorient"] and geometry["compare"] == "shape":
            raise self.error(
                ("geometry", "reorient"), found="true beside `compare: shape`",
                expected="`compare: grid`: without comparing headers nobody knows how a file is turned",
            )  # fmt: skip
        return geometry

    def _preset(self) -> Preset:
        name = self.document.get("preset", "deepmind")
        if name not in PRESETS:
            raise self.error(("preset",), found=repr(name), expected=f"one of {', '.join(PRESETS)}")
        return PRESETS[name]

    def _defects(self) -> list[dict[str, Any]]:
        defects = normal_defects(self.document.get("defects", []))
        for index, defect in enumerate(defects):
            if any(other["id"] == defect["id"] for other in defects[:index]):
                raise self.error(("defects", index, "id"), found=f"{defect['id']!r} again", expected="each once")
        return defects

    def _labels(self) -> list[dict[str, Any]]:
        given = self.document["labels"]
        entries = given.items() if isinstance(given, dict) else ((item["name"], item) for item in given)
        labels: list[dict[str, Any]] = []
        for index, (name, value) in enumerate(entries):
            path: Pointer = ("labels", name if isinstance(given, dict) else index)
            if any(label["name"] == name for label in labels):
                raise self.error(path, found=f"the label {name!r} again", expected="each label once")
            labels.append(self._label(path, name, value if isinstance(value, dict) else {"values": value}))
        return labels

    def _label(self, path: Pointer, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        values = given.get("values", [])
        values = sorted(values) if isinstance(values, list) else [values]
        if not values and given.get("channel") is None and self._needs_values():
            raise self.error(path, found="no values", expected="`values` (voxel values) or `channel`")
        if 0 in values:
            raise self.error((*path, "values"), found="0", expected="values of a structure: 0 is background")
        tolerance_mm = given.get("tolerance_mm")
        return {
            "name": name,
            "values": values,
            "channel": given.get("channel"),
            "tolerance_mm": None if tolerance_mm is None else float(tolerance_mm),
            "z_crop": given.get("z_crop", "none"),
        }

    def _label_rule(self, labels: list[dict[str, Any]], metrics: list[dict[str, Any]]) -> dict[str, Any]:
        """How labels follow from the reference. Written out only where they do: no other protocol's hash changes by it."""
        rule = self.document.get("labels_from_reference")
        if rule is None:
            return {}
        path: Pointer = ("labels_from_reference",)
        output = self.document["outputs"][0]
        if output["kind"] != "label_map" or output.get("instances") or len(labels) != 1:
            expected = "one label map, and one label that gives name and tolerance"
            raise self.error(path, found=f"{len(labels)} labels in a {output['kind']}", expected=expected)
        if any(item["labels"] for item in metrics):
            raise self.error(path, found="a metric of some labels only", expected="every metric for every value")
        return {"labels_from_reference": rule}

    def _needs_values(self) -> bool:
        return self.document["outputs"][0]["kind"] in ("label_map", "multichannel")

    def _inputs(self) -> list[dict[str, Any]]:
        inputs = [
            {
                "name": item["name"],
                "kind": item.get("kind", "image"),
                "file": item["file"],
                "required": item.get("required", True),
                "key": item.get("key", "case"),
                "columns": list(item.get("columns", [])),
                **({"socket": item["socket"]} if "socket" in item else {}),
            }
            for item in self.document.get("inputs", [])
        ]
        self._check_unique("inputs", inputs)
        for index, item in enumerate(inputs):
            if item["kind"] == "table" and "{case}" in item["file"]:
                expected = "one table for all cases a container sees, so no `{case}`"
                raise self.error(("inputs", index, "file"), found=repr(item["file"]), expected=expected)
            if item["kind"] == "sockets" and self.document.get("resources", {}).get("run_mode", "case") == "cohort":
                expected = "`run_mode: case`: the list of sockets is of one case"
                raise self.error(("inputs", index, "kind"), found="sockets for a cohort", expected=expected)
        return inputs

    def _outputs(self, labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
        outputs = [
            {
                "name": item["name"],
                "kind": item["kind"],
                "file": item["file"],
                "columns": list(item.get("columns", [])),
                "instances": item.get("instances", False),
                **({"cells": item["cells"]} if item.get("cells", "text") != "text" else {}),
            }
            for item in self.document["outputs"]
        ]
        self._check_unique("outputs", outputs)
        for index, item in enumerate(outputs):
            path: Pointer = ("outputs", index, "file")
            if item["kind"] == "mask_per_structure" and "{structure}" not in item["file"]:
                raise self.error(
                    path, found=repr(item["file"]), expected="`{structure}` in the name: one file per label"
                )
            if item["kind"] == "json" and index == 0:
                expected = "what is scored first: a json output is only kept, and given to a metric image"
                raise self.error(("outputs", 0, "kind"), found="json", expected=expected)
            self._check_cells_of(index, item)
            if item["instances"] and (item["kind"] != "label_map" or len(labels) > 1):
                raise self.error(
                    ("outputs", index, "instances"), found="instances", expected="one label map of a single label"
                )
            if item["kind"] == "multichannel" and any(label["channel"] is None for label in labels):
                raise self.error(("labels",), found="a label without `channel`", expected="one channel for every label")
        return outputs

    def _check_cells_of(self, index: int, item: Mapping[str, Any]) -> None:
        """Findings are in a table or in a JSON document per case, and the metrics that read them need them."""
        is_json = item["file"].endswith(".json")
        if "cells" in item and (item["kind"] != "table" or index):
            raise self.error(
                ("outputs", index, "cells"), found=f"cells of a {item['kind']}", expected="the first output, a table"
            )
        if item["kind"] == "table" and is_json and "cells" not in item:
            expected = "a .csv or .tsv, or `cells: points_3d` (boxes_3d, points_2d, boxes_2d) for findings in JSON"
            raise self.error(("outputs", index, "file"), found=item["file"], expected=expected)

    def _check_findings(self, metrics: list[dict[str, Any]]) -> None:
        cells = self.document["outputs"][0].get("cells", "text")
        for index, item in enumerate(metrics):
            metric = REGISTRY[item["name"]]
            fits = cells != "text" if metric.over_findings else cells.startswith("points")
            if (metric.over_findings or metric.is_of_points) and not fits:
                expected = "a first output with `cells: points_3d` or points_2d"
                expected += ", boxes_3d or boxes_2d" if metric.over_findings else ": a landmark is a point"
                raise self.error(
                    ("metrics", index), found=f"{item['name']} of cells that hold {cells}", expected=expected
                )
            if cells != "text" and metric.scope is Scope.TABLE and not (metric.over_findings or metric.is_of_points):
                expected = "a metric of findings, or `cells: text`"
                raise self.error(
                    ("metrics", index), found=f"{item['name']} of cells that hold {cells}", expected=expected
                )

    def _check_unique(self, key: str, items: list[dict[str, Any]]) -> None:
        for field in ("name", "file"):
            values = [item[field] for item in items]
            for index, value in enumerate(values):
                if value in values[:index]:
                    raise self.error((key, index, field), found=f"{value!r} again", expected="each once")

    def _metrics(self, preset: Preset, labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
        metrics: list[dict[str, Any]] = []
        for index, given in enumerate(self.document["metrics"]):
            item = self._metric(("metrics", index), given, preset, labels)
            if any(other["id"] == item["id"] for other in metrics):
                raise self.error(
                    ("metrics", index), found=f"the id {item['id']!r} again", expected="each id once: set `id`"
                )
            metrics.append(item)
        self._check_findings(metrics)
        numbered = any(item.get("instances") for item in self.document["outputs"])
        for index, item in enumerate(metrics):
            if not numbered and (item["options"].get("border") or item["options"].get("tile")):
                expected = "an output with `instances: true`: only objects that a file numbers know the image's edge"
                raise self.error(("metrics", index), found="`border` or `tile`", expected=expected)
            base = "dice" if item["options"].get("min_dice_over") == "case" else REGISTRY[item["name"]].base
            if base and not any(other["name"] == base for other in metrics):
                raise self.error(
                    ("metrics", index), found=f"{item['name']} without {base}", expected=f"{base} listed too"
                )
        return metrics + self._statistics(metrics)

    @staticmethod
    def _statistics(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The counts that pooled metrics add up, with their options, where the protocol does not list them itself."""
        listed = {item["name"] for item in metrics}
        added: list[dict[str, Any]] = []
        for item in metrics:
            pooled = REGISTRY[item["name"]].pooled
            needed = [*pooled.numerator, *pooled.denominator] if pooled else []
            for name in needed:
                if name not in listed:
                    listed.add(name)
                    options = {key: item["options"][key] for key in REGISTRY[name].options}
                    added.append({"id": name, "name": name, "rounding": None, "labels": [], "options": options})
        return added

    def _metric(
        self, path: Pointer, given: Mapping[str, Any], preset: Preset, labels: list[dict[str, Any]]
    ) -> dict[str, Any]:
        metric = REGISTRY.get(given["name"])
        if metric is None:
            raise self.error((*path, "name"), found=repr(given["name"]), expected=f"one of {', '.join(REGISTRY)}")
        names = [label["name"] for label in labels]
        chosen = list(given.get("labels", []))
        for name in chosen:
            if name not in names:
                raise self.error((*path, "labels"), found=repr(name), expected=f"one of {', '.join(names)}")
        options = self._options(path, given, metric, preset)
        if metric.needs_tolerance and options["tolerance_mm"] is None:
            self._check_tolerances(path, metric, [label for label in labels if label["name"] in (chosen or names)])
        rounding = given.get("rounding", preset.rounding)
        return {
            "id": given.get("id", given["name"]),
            "name": metric.name,
            "rounding": rounding,
            "labels": chosen,
            "options": options,
        }

    def _options(self, path: Pointer, given: Mapping[str, Any], metric: Metric, preset: Preset) -> dict[str, Any]:
        written = {key: value for key, value in given.items() if key not in _METRIC_KEYS}
        for key in written.keys() & given.get("options", {}).keys():
            raise self.error((*path, key), found=f"{key!r} again under `options`", expected="one of the two")
        written |= given.get("options", {})
        for key in written:
            if key not in metric.options:
                known = ", ".join(sorted({*metric.options, "id", "rounding", "labels"}))
                raise self.error((*path, key), found=f"the option {key!r}", expected=f"one of {known}")
        options = {key: option.default for key, option in metric.options.items()}
        options |= {**preset.options.get(metric.name, {}), **written}
        for key, option in metric.options.items():
            if not option.accepts(options[key]):
                raise self.error((*path, key), found=json.dumps(options[key]), expected=option.expected)
            if isinstance(options[key], int) and (option.default is None or isinstance(option.default, float)):
                options[key] = float(options[key])
        return options

    def _check_tolerances(self, path: Pointer, metric: Metric, labels: list[dict[str, Any]]) -> None:
        missing = [label["name"] for label in labels if label["tolerance_mm"] is None]
        if missing:
            raise self.error(
                path, found=f"{metric.name} without a tolerance for {', '.join(missing)}",
                expected="`tolerance_mm` at each label, or at the metric",
            )  # fmt: skip

    def _conventions(self, preset: Preset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
        given = self.document.get("conventions", {})
        named = {item["id"]: REGISTRY[item["name"]] for item in metrics}
        ids = {key: metric for key, metric in named.items() if not metric.pooled and not metric.is_over_all}
        for situation, row in given.items():
            rows = row.items() if situation == "by_failure" else ((None, row),)
            for failure, cells in rows:
                if failure:
                    self._check_failure(failure)
                self._check_cells(("conventions", situation, *([failure] if failure else [])), cells, ids)
        table: dict[str, Any] = {situation.value: {} for situation in Situation}
        for metric_id, metric in ids.items():
            standing = {
                situation: preset.conventions.get(situation, {}).get(metric.name, default_value(metric, situation))
                for situation in Situation
            }
            for situation in Situation:
                table[situation.value][metric_id] = given.get(situation.value, {}).get(metric_id, standing[situation])
            if standing[Situation.FAILED] is None and metric_id not in given.get("failed", {}):
                raise self.error(
                    ("conventions", "failed", metric_id),
                    found=f"no worth of {metric_id} for a case that failed, and the metric has no worst value",
                    expected="a number, `compute` (as if nothing was predicted) or null (left out)",
                )
        table["by_failure"] = given.get("by_failure", {})
        return _with_float_cells(table)

    def _check_failure(self, failure: str) -> None:
        verdict, _, reason = failure.partition(":")
        path = ("conventions", "by_failure", failure)
        if not _FAILURE.fullmatch(failure):
            raise self.error(path, found=repr(failure), expected="a verdict such as timeout, or verdict:reason")
        if verdict == "output_invalid" and reason and reason not in set(Reason):
            raise self.error(path, found=repr(reason), expected=f"one of {', '.join(Reason)}")

    def _check_cells(self, path: Pointer, cells: Mapping[str, Any], ids: Mapping[str, Metric]) -> None:
        for metric_id in cells:
            if metric_id not in ids:
                raise self.error((*path, metric_id), found=repr(metric_id), expected=f"a metric id: {', '.join(ids)}")

    def _resources(self) -> dict[str, Any]:
        resources: dict[str, Any] = {**_RESOURCES, **self.document.get("resources", {})}
        resources["wall_seconds"] = float(resources["wall_seconds"])
        return resources

    def _interaction(self) -> dict[str, Any] | None:
        given = self.document.get("interaction")
        is_interactive = self.document.get("resources", {}).get("run_mode") == "interactive"
        if is_interactive != (given is not None):
            found = "no `interaction`" if is_interactive else "`interaction` without run_mode interactive"
            raise self.error(("resources", "run_mode"), found=found, expected="both, or neither")
        if given is None:
            return None
        kind = self.document["outputs"][0]["kind"]
        if kind != "label_map":
            raise self.error(
                ("outputs", 0, "kind"), found=kind, expected="label_map: rounds go from one map to the next"
            )
        return {**_INTERACTION, **given}

    def _evaluation(self, metrics: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The metric image, where metrics are left to one."""
        given = self.document.get("evaluation")
        external = [item["id"] for item in metrics if REGISTRY[item["name"]].scope is Scope.EXTERNAL]
        if bool(external) != bool(given):
            expected = "metrics named external_score or external_error" if given else "`evaluation: {image: sha256:…}`"
            found = "an evaluation image without external metrics" if given else f"{external[0]} without an image"
            raise self.error(("evaluation",) if given else ("metrics",), found=found, expected=expected)
        if given and self.document["outputs"][0]["kind"] == "table":
            raise self.error(("evaluation",), found="tables", expected="volumes: a metric image is given those")
        return {**_EVALUATION, **given, "wall_seconds": float(given.get("wall_seconds", 3600))} if given else None

    def _release(self) -> dict[str, Any]:
        given = self.document.get("release", {})
        return {**_RELEASE, **(given if isinstance(given, dict) else {"mode": given})}

    def _section(self, index: int, given: str | Mapping[str, Any]) -> dict[str, Any]:
        item = {"section": given} if isinstance(given, str) else given
        section = {"section": item["section"], "by": item.get("by"), "path": list(item.get("path", []))}
        for kind, key in (("matrix", "by"), ("categories", "path")):
            if section["section"] == kind and not section[key]:
                raise self.error(
                    ("report", index), found=f"{kind} without `{key}`", expected=f"`{key}`: case attributes"
                )
        return section

    def _ranking(self, metrics: list[dict[str, Any]]) -> dict[str, Any]:
        """The ranking part, with what the registry knows of each metric written in where the protocol leaves it out.

        Without `metrics` every metric that has a better end is ranked, unless a ranking preset names its own.
        """
        ranking: dict[str, Any] = {"version": 1} | dict(self.document.get("ranking", {}))
        known = {item["id"]: REGISTRY[item["name"]] for item in metrics}
        if "metrics" not in ranking and "preset" not in ranking:
            ranking["metrics"] = [{"id": metric_id} for metric_id, metric in known.items() if metric.direction]
        if "metrics" in ranking:
            ranking["metrics"] = [self._ranked_metric(item, known) for item in ranking["metrics"]]
        return ranking

    @staticmethod
    def _ranked_metric(given: Any, known: Mapping[str, Metric]) -> Any:
        item = {"id": given} if isinstance(given, str) else given
        metric = known.get(item.get("id", "")) if isinstance(item, dict) else None
        if metric is None:
            return given
        facts: dict[str, Any] = {
            "direction": metric.direction.value,
            "bounds": [metric.lower, metric.upper],
            "unit": metric.unit,
            "pooled": metric.pooled
            and {"numerator": _linear(metric.pooled.numerator), "denominator": _linear(metric.pooled.denominator)},
        }
        return {key: value for key, value in facts.items() if value} | item


def _linear(terms: Mapping[str, float]) -> str:
    """`2*intersection_voxels + …`, as ranking documents write sums."""
    return " + ".join(f"{factor:g}*{name}" for name, factor in terms.items())


def _with_float_cells(table: Mapping[str, Any]) -> dict[str, Any]:
    """The same table with every number a float, so that 1 and 1.0 hash alike."""
    return {
        key: _with_float_cells(cell) if isinstance(cell, dict) else float(cell) if isinstance(cell, int) else cell
        for key, cell in table.items()
    }
