"""A whole installation for journey tests: everything `make run` starts, in a folder of its own, and small things to feed it."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np

import image_archives
from assay.config import env
from assay.config.embedded import home_under
from containers.waiting import Program, wait_until_ready
from migrated import lay_database

COPY_SOURCE = r"""
#include <fcntl.h>
#include <unistd.h>
#ifndef DWELL_MICROSECONDS
#define DWELL_MICROSECONDS 0
#endif
int main(void) {
    char buffer[65536];
    ssize_t count;
    int in = open("/input/t1.nii.gz", O_RDONLY), out = open("/output/segmentation.nii.gz", O_WRONLY | O_CREAT, 0644);
    if (in < 0 || out < 0) return 3;
    while ((count = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, count) != count) return 4;
    usleep(DWELL_MICROSECONDS);
    return 0;
}
"""
CHALLENGE = """
slug: copycat
title: Copy the scan
summary: The scan is its own answer.
rules: Copy it.
contact: olga@example.org
protocol:
  protocol: 1
  name: copycat
  title: Copycat
  labels:
    core: {values: 1, tolerance_mm: 1}
    rim: {values: 2, tolerance_mm: 1}
  inputs: [{name: t1, file: t1.nii.gz}]
  outputs: [{name: segmentation, kind: label_map, file: segmentation.nii.gz}]
  metrics: [{name: dice}, {name: hd95}]
  resources: {wall_seconds: 60, memory_mb: 64, shm_mb: 8, tmp_mb: 8, output_mb: 8}
  release: per_case
  breakdowns: [site]
phases:
  - slug: main
    title: Main phase
    kind: container
    opens_at: "2026-01-01T00:00:00Z"
    closes_at: "2099-01-01T00:00:00Z"
    submission_limit: 5
    submission_window_days: 1
    testset: hidden
"""
ASSAY = Path(sys.executable).with_name("assay")


@contextmanager
def running_installation(*, folder: Path, from_nothing: bool = False, **environment: str) -> Iterator[str]:
    """Start it, give its address, stop it. Its own words are in `serve.log` of the folder.

    Its database is a copy of one that is migrated already, unless it shall start `from_nothing`.
    """
    ready, log = folder / "ready", folder / "serve.log"
    home = home_under(var=folder / "var")
    if not from_nothing and not home.path.exists():
        lay_database(home)
    values = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    values |= {"ASSAY_VAR": str(folder / "var"), "ASSAY_PORT": "0"} | environment
    with log.open("wb") as out:
        command = [str(ASSAY), "serve", "--ready-file", str(ready)]
        process = subprocess.Popen(command, env=values, stdout=out, stderr=out)
    try:
        wait_until_ready(
            Program(name="the installation", process=process, log=log), is_ready=ready.exists, patience=env.patience()
        )
        yield ready.read_text().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()  # it ends what does not end; pytest's own time-out ends a hang
        forget = [ASSAY, "node", "forget", "--folder", folder / "var" / "node"]
        subprocess.run(forget, capture_output=True, check=True)
        shutil.rmtree(home.path, ignore_errors=True)


def label_map(seed: int) -> np.ndarray:
    """Two nested boxes somewhere in a 16 x 16 x 12 grid."""
    corner = np.random.default_rng(seed).integers(1, 5, size=3)
    image = np.zeros((16, 16, 12), np.uint8)
    a, b, c = corner
    image[a : a + 9, b : b + 9, c : c + 6] = 2
    image[a + 2 : a + 7, b + 2 : b + 7, c + 1 : c + 5] = 1
    return image


def write_testset(folder: Path, *, cases: int = 3) -> Path:
    """A folder as `assay testset push` takes it. Each case's scan is its reference."""
    folder.mkdir(parents=True)
    lines = ["case_id,input:t1,reference,site"]
    for number in range(cases):
        name = f"case{number}.nii.gz"
        nib.save(nib.Nifti1Image(label_map(number), np.diag([1.5, 1.5, 3, 1])), folder / name)
        lines.append(f"case{number},{name},{name},{'AB'[number % 2]}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def tar_folder(folder: Path) -> Path:
    """The folder as the archive a browser uploads."""
    target = folder.with_suffix(".tar")
    with tarfile.open(target, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, arcname=file.name)
    return target


def copying_image(folder: Path, *, dwell_seconds: float = 0.0) -> Path:
    """An honest image of one static program: it copies its input to its output, and takes its time if it is told to.

    Every one has an identity of its own, because an installation that ends removes the images it has loaded, and others may use
    the same engine.
    """
    source, binary = folder / "copy.c", folder / "copy"
    source.write_text(COPY_SOURCE)
    dwell = f"-DDWELL_MICROSECONDS={round(dwell_seconds * 1e6)}"
    subprocess.run(["gcc", "-static", "-Os", dwell, "-o", str(binary), str(source)], check=True)
    layer = image_archives.tar_of(
        image_archives.entry("copy", binary.read_bytes()), image_archives.entry(uuid.uuid4().hex)
    )
    config = image_archives.config_of(layer, settings={"Entrypoint": ["/copy"], "Cmd": None})
    return image_archives.docker_save(folder / "copy-image.tar", layer, config=config)
