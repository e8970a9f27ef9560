"""An organizer's bundle out of a protocol: the challenge file, its pages, and a starter kit whose self-test passes as it stands.

Everything is read off the protocol document. No challenge is known here by name. The files that do not depend on the protocol,
and the templates of those that do, are in `kit/`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from string import Template
from textwrap import indent
from typing import Any

import yaml

from assay.client.errors import ClientError
from assay.client.example_cases import EXAMPLE_CASE, write_example
from evaluator.errors import EvaluatorError
from evaluator.protocol import (
    InputKind,
    OutputKind,
    Protocol,
    given_name,
    load_named_protocol,
    named_protocols,
    read_protocol,
)
from evaluator.volumes import Cells

KIT = Path(__file__).with_name("kit")
SCRIPT = re.compile(r"[\w./-]+\.(?:sh|py)")
NOT_IN_A_SLUG = re.compile(r"[^a-z0-9]+")
PLACEHOLDERS = {"choice_accuracy": "A", "accuracy": "1", "mape": "50"}
"""A cell that can be read, by the metric that reads it. A probability otherwise."""
PREPARATION = timedelta(days=14)
VALIDATION = timedelta(days=60)
FINAL = timedelta(days=14)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One bundle to be written."""

    protocol: Protocol
    slug: str
    title: str
    opens: date

    @property
    def is_table(self) -> bool:
        """Whether the answer is a table."""
        return self.protocol.output.kind is OutputKind.TABLE

    def words(self) -> dict[str, str]:
        """What the templates ask for."""
        protocol = self.protocol
        closes = self.opens + VALIDATION
        return {
            "slug": self.slug,
            "rules": self.rules(),
            "title": self.title.replace('"', "'"),
            "image": f"{self.slug}-sample:local",
            "protocol": protocol.name,
            "sha256": protocol.sha256[:12],
            "function": "answer" if self.is_table else "segment",
            "opens_at": f"{self.opens:%Y-%m-%d}",
            "closes_at": f"{closes:%Y-%m-%d}",
            "ends_at": f"{closes + FINAL:%Y-%m-%d}",
            "manifest": ",".join(manifest_header(protocol)),
            "tree": container_tree(protocol),
            "contract_words": contract_words(protocol),
            "structures_words": structures_words(protocol),
            "sources": _bullets(protocol.document["sources"]) or "⟨where the data and the rules come from⟩",
            "unconfirmed": unconfirmed_words(protocol),
            "workdir": str(Path(protocol.resources.input_mount).parent),
            "scripts": "".join(f"COPY {script} {script}\n" for script in scripts(protocol)),
        }

    def rules(self) -> str:
        """What stands under `protocol:`: the name of one that ships, or the whole document."""
        protocol = self.protocol
        name = protocol.full_name
        ships = protocol.name in named_protocols() and load_named_protocol(name).sha256 == protocol.sha256
        text = f"use: {name}" if ships else as_yaml(protocol).rstrip()
        return indent(text, "  ")


def usable_protocol(name: str) -> Protocol:
    """A shipped protocol by its name, or a protocol file. Raises `ClientError`."""
    try:
        return read_protocol(name)
    except (EvaluatorError, OSError) as problem:
        raise ClientError(f"{name} is no protocol we can use", found=str(problem)) from problem


def plan_bundle(protocol_name: str, *, slug: str, title: str, today: date) -> Bundle:
    """The bundle for a named protocol or a protocol file."""
    protocol = usable_protocol(protocol_name)
    return Bundle(
        protocol=protocol,
        slug=NOT_IN_A_SLUG.sub("-", slug.lower()).strip("-") or protocol.name,
        title=title or protocol.title,
        opens=today + PREPARATION,
    )


def write_bundle(bundle: Bundle, *, folder: Path) -> list[Path]:
    """Write every file of the bundle. The folder must be new or empty. The paths, relative to it."""
    if folder.exists() and any(folder.iterdir()):
        raise ClientError(f"{folder} is not empty", expected="a new folder", what_to_do="choose another name")
    words = bundle.words()
    starter = folder / "starter-kit"
    for template, target in {
        "challenge.yaml": folder / "challenge.yaml",
        "organizer.md": folder / "README.md",
        "description.md": folder / "pages/description.md",
        "rules.md": folder / "pages/rules.md",
        "participant.md": starter / "README.md",
        "Dockerfile": starter / "Dockerfile",
        "check.sh": starter / "check.sh",
    }.items():
        _write(target, Template((KIT / template).read_text("utf-8")).substitute(words).rstrip() + "\n")
    _write(folder / "hidden-cases/manifest.csv", words["manifest"] + "\n")
    program = "predict_volumes.py" if bundle.protocol.interaction is None else "predict_prompts.py"
    program = "predict_tables.py" if bundle.is_table else program
    _write(starter / "predict.py", (KIT / program).read_text("utf-8"))
    _write(starter / "selftest.py", (KIT / "selftest.py").read_text("utf-8"))
    _write(starter / "contract.json", json.dumps(contract(bundle.protocol), indent=1, ensure_ascii=False) + "\n")
    _write(starter / "protocol.yaml", as_yaml(bundle.protocol))
    for script in scripts(bundle.protocol):
        _write(starter / script, "#!/bin/sh\nexec python3 /opt/algorithm/predict.py\n")
    write_example(bundle.protocol, folder=starter / "example")
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def as_yaml(protocol: Protocol) -> str:
    """The protocol in its normal form."""
    return yaml.safe_dump(protocol.document, sort_keys=False, allow_unicode=True, width=120)


def contract(protocol: Protocol) -> dict[str, Any]:
    """What the container finds and has to write, in plain values: `predict.py` and the self-test read nothing else."""
    resources = protocol.resources
    columns = {label.name: placeholder(protocol) for label in protocol.labels}
    return {
        "protocol": protocol.name,
        "run_mode": resources.run_mode,
        "input_folder": resources.input_mount,
        "inputs": {item.name: item.file for item in protocol.inputs if item.kind is not InputKind.SOCKETS},
        "optional_inputs": [item.name for item in protocol.inputs if not item.required],
        "output_folder": resources.output_mount,
        "output": given_name(protocol.output.file),
        "kind": str(protocol.output.kind),
        "structures": [label.name for label in protocol.labels],
        "values": sorted({value for label in protocol.labels for value in label.values}),
        "columns": columns if protocol.output.kind is OutputKind.TABLE else {},
        "separator": protocol.table_form.delimiter if protocol.table_form else ",",
        "example_case": EXAMPLE_CASE,
        "prompts_file": protocol.interaction.prompts_file if protocol.interaction else None,
        "previous_file": protocol.interaction.previous_file if protocol.interaction else None,
        "command": None if resources.command is None else list(resources.command),
        "runs_as_root": resources.profile == "legacy",
        "limits": {name: getattr(resources, name) for name in ("wall_seconds", "memory_mb", "pids", "shm_mb", "gpus")},
    }


def placeholder(protocol: Protocol) -> str:
    """A cell every metric of a table protocol can read."""
    if protocol.output.cells != "text":
        cells = Cells(protocol.output.cells)
        return " ".join(["10"] * cells.dimensions + ["20"] * cells.dimensions * cells.are_boxes + ["0.5"])
    names = [spec.metric.name for spec in protocol.metrics]
    return next((PLACEHOLDERS[name] for name in names if name in PLACEHOLDERS), "0.5")


def scripts(protocol: Protocol) -> list[str]:
    """The scripts a fixed command starts, relative to the working folder. None where the image's entry point is used."""
    return sorted({script for word in protocol.resources.command or () for script in SCRIPT.findall(word)})


def manifest_header(protocol: Protocol) -> list[str]:
    """The columns of a test set's manifest."""
    references = ["reference"]
    if protocol.output.kind is OutputKind.MASK_PER_STRUCTURE:
        references = [f"reference:{label.name}" for label in protocol.labels]
    told = [column for item in protocol.inputs for column in item.columns]
    files = [f"input:{name}" for name in protocol.input_files("")]
    return ["case_id", *dict.fromkeys([*protocol.breakdowns, *told]), *files, *references]


def container_tree(protocol: Protocol) -> str:
    """The input and the output folder, with an example name."""
    resources = protocol.resources
    optional = {item.file.replace("{case}", EXAMPLE_CASE) for item in protocol.inputs if not item.required}
    lines = [f"{resources.input_mount}/  (read-only)"]
    lines += [
        f"  {file}{'  (may be missing)' if file in optional else ''}"
        for file in protocol.input_files(EXAMPLE_CASE).values()
    ]
    if protocol.interaction is not None:
        told = (protocol.interaction.prompts_file, protocol.interaction.previous_file)
        lines += [f"  {file.replace('{case}', EXAMPLE_CASE)}  (of the round)" for file in told]
    lines.append(f"{resources.output_mount}/")
    return "\n".join([*lines, *(f"  {file}" for file in protocol.output_files(EXAMPLE_CASE).values())])


def contract_words(protocol: Protocol) -> str:
    """Start, limits and form of the answer, in sentences."""
    resources = protocol.resources
    per = {"case": "case", "cohort": "set of cases", "interactive": "round of a case"}[resources.run_mode]
    start = (
        "The image's entry point is started"
        if resources.command is None
        else f"`{' '.join(resources.command)}` is started"
    )
    gpus = f"{resources.gpus} GPU{'s' if resources.gpus > 1 else ''}" if resources.gpus else "no GPU"
    return (
        f"{start} once per {per}, without network, with {resources.cpus} CPU{'s' if resources.cpus > 1 else ''}, {gpus}, "
        f"{resources.memory_mb} MB of memory, {resources.shm_mb} MB of shared memory and {resources.wall_seconds:g} s. "
        + {
            OutputKind.LABEL_MAP: "The answer is one label map on the grid of the image.",
            OutputKind.MASK_PER_STRUCTURE: "The answer is one binary mask per structure, on the grid of the image.",
            OutputKind.MULTICHANNEL: "The answer is one 4-D mask, one channel per structure in the order below.",
            OutputKind.TABLE: "The answer is a table with a column `case` and one column per item below.",
        }[protocol.output.kind]
        + f"\n\n{structures_words(protocol)}"
    )


def structures_words(protocol: Protocol) -> str:
    """A table of the structures, or of the columns."""
    if protocol.output.cells != "text":
        return _findings_words(protocol)
    if protocol.output.kind is OutputKind.TABLE:
        return "| Column |\n| --- |\n" + "\n".join(f"| {label.name} |" for label in protocol.labels)
    if protocol.output.kind is OutputKind.MULTICHANNEL:
        rows = [(label.name, str(label.channel)) for label in protocol.labels]
        return "| Structure | Channel |\n| --- | --- |\n" + "\n".join(
            f"| {name} | {channel} |" for name, channel in rows
        )
    rows = [(label.name, ", ".join(str(value) for value in label.values) or "mask") for label in protocol.labels]
    return "| Structure | Voxel values |\n| --- | --- |\n" + "\n".join(
        f"| {name} | {values} |" for name, values in rows
    )


def _findings_words(protocol: Protocol) -> str:
    """What a cell of findings holds."""
    numbers = f"{Cells(protocol.output.cells).place_words} confidence"
    columns = "\n".join(f"| {label.name} |" for label in protocol.labels)
    return (
        f"| Column |\n| --- |\n{columns}\n\nA cell lists what was found, with `;` between the findings: `{numbers}`, in mm. "
        "An empty cell says that nothing was found."
    )


def unconfirmed_words(protocol: Protocol) -> str:
    """What the protocol itself says nobody has confirmed: an organizer must decide it."""
    facts = protocol.document["unconfirmed"]
    return (
        f"\n## To decide\n\nNobody has confirmed these for the protocol as it shipped:\n\n{_bullets(facts)}\n"
        if facts
        else ""
    )


def _bullets(texts: list[Any]) -> str:
    return "\n".join(f"- {_plain(text)}" for text in texts)


def _plain(text: Any) -> str:
    return ", ".join(f"{key}: {value}" for key, value in text.items()) if isinstance(text, Mapping) else str(text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
