"""Whatever is done to an archive, intake accepts or refuses: anything else would be our fault, and be tried again without end."""

import gzip
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containers.intake import ImageInvalid, IntakeLimits
from containers.intake.config import vet_config
from containers.intake.inspection import inspect
from image_archives import config_of, docker_save, entry, folder, hard_link, oci_layout, symlink, tar_of

LAYER = tar_of(
    folder("app"),
    entry("app/" + "long" * 40, b"x" * 700),
    symlink("lib", "usr/lib"),
    hard_link("again", "app/x"),
    entry("run", b"#!"),
)
pytestmark = pytest.mark.slow
LIMITS = IntakeLimits(unpacked_bytes=1 << 22, entries=100, compression_grace_bytes=1 << 20)


def seed(build) -> bytes:
    with tempfile.TemporaryDirectory() as folder_name:
        return build(Path(folder_name) / "a.tar").read_bytes()


SEEDS = {
    "docker": seed(lambda path: docker_save(path, LAYER, LAYER)),
    "oci": seed(lambda path: oci_layout(path, LAYER, stored=[gzip.compress(LAYER, mtime=0)])),
}


def judged(content: bytes) -> None:
    """In this process: an exception of another kind fails the test."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as destination:
        source.write(content)
        source.flush()
        with suppress(ImageInvalid):
            inspect(
                source=source.fileno(),
                destination=destination.fileno(),
                limits=LIMITS,
                architecture="amd64",
                needs_command=True,
            )
        assert os.fstat(destination.fileno()).st_size < 1 << 23


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(SEEDS)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=12)), max_size=6),
    cut=st.floats(0, 1),
)
def test_a_damaged_archive_is_judged(name, edits, cut):
    raw = bytearray(SEEDS[name])
    for where, content in edits:
        start = int(where * len(raw))
        raw[start : start + len(content)] = content
    judged(bytes(raw[: int(len(raw) * (1 - cut / 4))]))


@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(max_size=3000), magic=st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"])
)
def test_random_bytes_are_judged(content, magic):
    judged(magic + content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    settings_given=st.dictionaries(
        st.sampled_from(
            ["Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Volumes", "Labels", "Healthcheck", "OnBuild"]
        ),
        JSON,
    ),
    changes=st.dictionaries(st.sampled_from(["architecture", "os", "rootfs", "config"]), JSON, max_size=2),
)
def test_any_configuration_is_vetted(settings_given, changes):
    raw = json.dumps(config_of(LAYER, settings=settings_given, **changes)).encode()
    with suppress(ImageInvalid):
        found = vet_config(raw=raw, architecture="amd64", limits=IntakeLimits(), needs_command=False)
        assert set(json.loads(found.document)["config"]) == {"User", "Env", "Entrypoint", "Cmd", "WorkingDir"}
        assert not [
            line for line in json.loads(found.document)["config"]["Env"] if line.startswith(("NVIDIA_", "LD_P"))
        ]


@settings(max_examples=200, deadline=None)
@given(manifest=JSON, config=JSON)
def test_any_manifest_is_judged(manifest, config):
    entries = [entry("manifest.json", json.dumps(manifest).encode()), entry("index.json", json.dumps(config).encode())]
    judged(tar_of(*entries))
    judged(tar_of(entry("index.json", json.dumps({"manifests": manifest}).encode())))


def test_the_seeds_are_accepted():
    for name, content in SEEDS.items():
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as destination:
            source.write(content)
            source.flush()
            arguments = {"architecture": "amd64", "needs_command": True, "limits": LIMITS}
            assert inspect(source=source.fileno(), destination=destination.fileno(), **arguments).layers >= 1, name
