"""Zips of code, as CodaBench takes them: built without a network from the organizers' wheels, run and scored as an image is."""

import subprocess
from pathlib import Path

import pytest

from code_zips import CodePhase, wheel, zipped
from existing_things import cube, explained, scan, write_manifest, write_volume

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("engine")]

RULES = {
    "protocol": 1,
    "name": "cube",
    "labels": {"cube": 1},
    "inputs": [{"name": "ct", "file": "{case}_0000.nii.gz"}],
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}],
}
PREDICT = """
import os, pathlib, socket, sys
import thresholds, helpers
given, written = map(pathlib.Path, sys.argv[1:]) if len(sys.argv) > 1 else (pathlib.Path("/input"), pathlib.Path("/output"))
assert os.getcwd() == "/app/program", os.getcwd()
try:
    open("/app/program/x", "w")
    sys.exit("the program's folder can be written")
except OSError:
    pass
for path in sorted(given.glob("*_0000.nii.gz")):
    thresholds.threshold_nifti(path, written / path.name.replace("_0000", ""), above=helpers.ABOVE)
"""


@pytest.fixture(scope="module")
def base(workshop) -> Path:
    """What the organizer saves of a base image."""
    archive = workshop.folder / "base.tar"
    subprocess.run(["docker", "save", "-o", str(archive), workshop.base], check=True)
    return archive


@pytest.fixture
def phase(base, serve, tmp_path):
    """A phase with one case, and wheels of which one needs another."""
    cases = tmp_path / "cases"
    cases.mkdir()
    row = {
        "case_id": "case_002",
        "input:ct": write_volume(scan(2), cases / "ct.nii.gz"),
        "reference": write_volume(cube(2), cases / "label.nii.gz"),
    }
    program = (Path(__file__).parent / "volumes.py").read_text()
    wheels = [
        wheel("thresholds", version="2.1", module=program, needs="leaf>=1"),
        wheel("leaf"),
        wheel("greedy", needs="leaf>=9"),
    ]
    server = serve(RULES, write_manifest(cases, [row]))
    opened = CodePhase.open(server, base=base, wheels=zipped(tmp_path / "wheels.zip", dict(wheels)))
    opened.folder = tmp_path
    yield opened
    opened.clean()


@pytest.mark.existing_thing(
    "CodaBench: code submission (metadata with a command or predict.py, requirements.txt)",
    runs="unchanged",
    through="submission",
)
def test_code_and_its_requirements_become_an_image(phase):
    """One installation: with a command and with predict.py, then every fault with whose it is."""
    code = {"helpers.py": "ABOVE = 100\n", "requirements.txt": "# what we need\nthresholds >= 2, < 3\n"}
    metadata = "command: python3 $program/main.py $input $output\n"
    told = phase.submit("with-metadata", {"mine/main.py": PREDICT, "mine/metadata": metadata} | {f"mine/{name}": text for name, text in code.items()})  # fmt: skip
    assert told.status == "queued", explained(told)
    done = phase.play(told)
    assert (done.status, done.evaluations.get().aggregates["dice"]["mean"]) == ("done", 1.0), explained(done)
    assert done.image.report["entrypoint"] == ["python3", "/app/program/main.py", "/input", "/output"]
    plain = phase.play(phase.submit("plain", {"predict.py": PREDICT, **code}))
    assert (plain.status, plain.evaluations.get().aggregates["dice"]["mean"]) == ("done", 1.0), explained(plain)

    refusals = {
        "scipy>=1.9": ("participant", "requirements.txt, line 1, asks for scipy>=1.9", "has no scipy, but greedy 1.0, leaf 1.0, thresholds 2.1"),
        "thresholds==3.0": ("participant", "asks for thresholds==3.0", "has thresholds 2.1"),
        "leaf\ngreedy": ("participant", "cannot be installed together", "pip said: "),
        "--index-url https://example.org/simple": ("participant", "line 1: found '--index-url", "leave them out"),
    }  # fmt: skip
    for number, (line, (fault, *words)) in enumerate(refusals.items()):
        refused = phase.submit(f"refused-{number}", {"predict.py": PREDICT, "requirements.txt": line})
        assert (refused.status, refused.verdict, refused.fault) == ("failed", "image_invalid", fault), line
        assert not refused.is_charged
        assert all(word in refused.verdict_text for word in words), (line, refused.verdict_text)
