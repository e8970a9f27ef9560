"""Every instruction set gives the same bits, 64-bit ARM under emulation among them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from evaluator.kernel.compiler import FLAGS, FOLDER, SOURCES, find_compiler

PROGRAM = Path(__file__).with_name("kernel_digest.c")
ARM_COMPILER, ARM_EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler here"),
]


def build(program: Path, *, compiler: str, flags: tuple[str, ...] = ()) -> Path:
    sources = [str(FOLDER / source) for source in SOURCES]
    command = [compiler, *FLAGS, *flags, '-DASSAY_SOURCES="x"', f"-I{FOLDER}", "-o", str(program), str(PROGRAM)]
    subprocess.run([*command, *sources, "-lm"], check=True)
    return program


def digest(*command: str, instructions: str) -> tuple[str, str]:
    """The digest, and the instruction set that was used."""
    environment = os.environ | {"ASSAY_KERNEL_INSTRUCTIONS": instructions}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    number, used = said.split()
    return number, used


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("host") / "digest", compiler=find_compiler())


def test_every_instruction_set_of_this_processor_gives_the_same_bits(host):
    found = {
        used: number
        for number, used in (
            digest(str(host), instructions=name) for name in ("avx512", "avx2", "sse2", "neon", "plain")
        )
    }
    assert "plain" in found
    assert len(set(found.values())) == 1, found


@pytest.mark.skipif(shutil.which(ARM_COMPILER) is None, reason="gcc-aarch64-linux-gnu is not installed")
@pytest.mark.skipif(shutil.which(ARM_EMULATOR) is None, reason="qemu-user is not installed")
def test_64_bit_arm_gives_the_same_bits_under_emulation(host, tmp_path):
    program = build(tmp_path / "digest", compiler=ARM_COMPILER, flags=("-static",))
    expected, _ = digest(str(host), instructions="plain")
    for name in ("neon", "plain"):
        assert digest(ARM_EMULATOR, str(program), instructions=name) == (expected, name)
