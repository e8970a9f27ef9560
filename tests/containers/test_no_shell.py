"""Catalogue items 96 and 97: no name somebody chose is ever part of a command, and nobody's own evaluator is ever run."""

import ast
from pathlib import Path

import pytest

from evaluator.errors import ProtocolError
from evaluator.protocol import load_protocol

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for room in ("containers", "evaluator", "platform")
    for path in sorted((ROOT / room).rglob("*.py"))
    if "node_modules" not in path.parts
]
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pickle.loads", "pickle.load"}
PROTOCOL = """
protocol: 1
name: own-evaluator
title: Own evaluator
labels: {core: {values: 1, tolerance_mm: 1}}
inputs: [{name: t1, file: "{case}.nii.gz"}]
outputs: [{name: segmentation, kind: label_map, file: "{case}.nii.gz"}]
metrics: [{name: dice}]
"""


@pytest.mark.catalogue(
    96,
    attack="file names and texts of participants in commands",
    verdict="never in a shell",
    guard="argument lists only",
)
def test_no_room_calls_a_shell_or_loads_a_pickle():
    assert len(SOURCES) > 100
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            is_shell = any(
                keyword.arg == "shell"
                and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
                for keyword in node.keywords
            )
            if is_shell or ast.unparse(node.func) in SHELLS:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


@pytest.mark.catalogue(
    97,
    attack="an evaluator of the organizer's own",
    verdict="refused",
    guard="protocols are data; only our evaluator scores",
)
@pytest.mark.parametrize("addition", ["evaluator: {image: evil}", "script: score.py", "plugins: [evil]"])
def test_a_protocol_cannot_bring_code(addition):
    assert load_protocol(PROTOCOL).name == "own-evaluator"
    with pytest.raises(ProtocolError):
        load_protocol(PROTOCOL + addition + "\n")
