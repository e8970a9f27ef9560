"""Catalogue group A: archives that attack the program that unpacks them. Each is refused, and leaves nothing behind."""

import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from containers.intake import ImageInvalid, IntakeLimits, IntakeUnavailable, Reason
from containers.intake.archives import ask_child
from image_archives import (
    LAYER,
    config_of,
    device,
    docker_save,
    entry,
    folder,
    gzipped,
    hard_link,
    oci_layout,
    sha256,
    symlink,
    tar_of,
)

pytestmark = pytest.mark.slow

MIB = 2**20
LAYER_GUARD = "every path of every layer is walked before anything is loaded"
COUNTED = "bytes and entries are counted while they are read"
COMPARED = "layers are looked up among the archive's members, never opened by path"


def with_members(path, *members, manifest):
    """An archive with a valid configuration and whatever manifest a test wants."""
    body = json.dumps(config_of(LAYER)).encode()
    path.write_bytes(tar_of(entry("c.json", body), *members, entry("manifest.json", json.dumps(manifest).encode())))
    return path


def naming(*, config="c.json", layers=("layer.tar",)):
    return [{"Config": config, "RepoTags": ["x:1"], "Layers": list(layers)}]


PATHS = {
    "entry that climbs out": tar_of(entry("../../etc/cron.d/x", b"x")),
    "entry that climbs out after a folder": tar_of(folder("a"), entry("a/../../x", b"x")),
    "write through a symbolic link": tar_of(symlink("etc", "/hostetc"), entry("etc/passwd", b"x")),
    "write deep through a symbolic link": tar_of(symlink("a", "/"), entry("a/b/c/d", b"x")),
    "link made after its folder was checked": tar_of(folder("a"), entry("a/x"), symlink("a", "/"), entry("a/y", b"x")),
    "hard link that climbs out": tar_of(hard_link("shadow", "../../etc/shadow")),
    "hard link through a symbolic link": tar_of(symlink("e", "/etc"), hard_link("shadow", "e/shadow")),
}


@pytest.mark.catalogue(
    5, attack="`../` entry, write through a link, outward hard link", verdict="refused: unsafe_path", guard=LAYER_GUARD
)
@pytest.mark.parametrize("attack", PATHS)
def test_a_layer_that_reaches_out_of_itself_is_refused(attack, tmp_path, refusal):
    reason, message = refusal(docker_save(tmp_path / "a.tar", PATHS[attack]))
    assert reason is Reason.UNSAFE_PATH
    assert "Rebuild the image" in message


def test_links_that_any_distribution_has_are_fine(tmp_path, judge):
    layer = tar_of(
        folder("usr/bin"),
        entry("usr/bin/python3.11", b"x"),
        symlink("bin", "usr/bin"),
        symlink("usr/bin/python3", "python3.11"),
        symlink("etc/mtab", "/proc/mounts"),
        symlink("up", "../../usr"),
        hard_link("usr/bin/py", "usr/bin/python3.11"),
        entry("weights..v2/model..bin", b"x"),
    )
    assert judge(docker_save(tmp_path / "a.tar", layer)).entries["symbolic link"] == 4


TARGETS = ["/etc/shadow", "../../../etc/shadow", "../other.tar", "self.tar"]


@pytest.mark.catalogue(
    4, attack="layer file is a symbolic link (absolute, ../)", verdict="refused: layer_mismatch", guard=COMPARED
)
@pytest.mark.parametrize("target", TARGETS)
def test_a_layer_that_is_a_link_out_of_the_archive_is_refused(target, tmp_path, refusal):
    archive = with_members(tmp_path / "a.tar", symlink("self.tar", target), manifest=naming(layers=["self.tar"]))
    reason, _ = refusal(archive)
    assert reason is Reason.LAYER_MISMATCH


def test_a_member_that_is_a_device_or_a_hard_link_is_refused(tmp_path, refusal):
    for index, member in enumerate((device("layer.tar", major=1, minor=5), hard_link("layer.tar", "c.json"))):
        archive = with_members(tmp_path / f"{index}.tar", member, manifest=naming())
        assert refusal(archive)[0] is Reason.UNSAFE_PATH


@pytest.mark.catalogue(6, attack="Config path with ../", verdict="refused: malformed", guard=COMPARED)
@pytest.mark.parametrize("config", ["../../../etc/passwd", "/etc/passwd", "", "layer.tar", "missing.json"])
def test_a_configuration_outside_the_archive_is_refused(config, tmp_path, refusal):
    archive = with_members(tmp_path / "a.tar", entry("layer.tar", LAYER), manifest=naming(config=config))
    assert refusal(archive)[0] is Reason.MALFORMED


@pytest.mark.catalogue(
    3,
    attack="two or zero images in the manifest",
    verdict="refused: not_one_image",
    guard="exactly one image is accepted",
)
@pytest.mark.parametrize("count", [0, 2])
def test_an_archive_with_not_exactly_one_image_is_refused(count, tmp_path, refusal):
    archive = with_members(tmp_path / "a.tar", entry("layer.tar", LAYER), manifest=naming() * count)
    reason, message = refusal(archive)
    assert reason is Reason.NOT_ONE_IMAGE
    assert f"holds {count} images" in message


@pytest.mark.catalogue(
    7,
    attack="layer with another content than its diff_id",
    verdict="refused: layer_mismatch",
    guard="every diff_id is recomputed",
)
def test_a_layer_with_another_content_than_promised_is_refused(tmp_path, refusal):
    other = tar_of(entry("app/run.sh", b"something else"))
    for index, stored in enumerate((other, gzip.compress(other), LAYER + bytes(512))):
        archive = docker_save(tmp_path / f"{index}.tar", LAYER, stored=[stored])
        assert refusal(archive)[0] is Reason.LAYER_MISMATCH


def test_more_or_fewer_layers_than_promised_are_refused(tmp_path, refusal):
    for index, promised in enumerate(((LAYER, LAYER), ())):
        archive = docker_save(tmp_path / f"{index}.tar", LAYER, config=config_of(*promised))
        assert refusal(archive)[0] is Reason.LAYER_MISMATCH


def zeros_layer(*, mebibytes: int) -> bytes:
    """A gzipped layer holding one file of zeros: the same small gzip member again and again."""
    info, _ = entry("zeros")
    info.size = mebibytes * MIB
    part = gzip.compress(bytes(64 * MIB))
    return gzip.compress(info.tobuf()) + part * (mebibytes // 64) + gzip.compress(bytes(1024))


def processor_seconds_of_children() -> float:
    """What other people's load on the machine does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.catalogue(8, attack="gzip bomb: 2 MiB grow to 2 GiB", verdict="refused: compression_bomb", guard=COUNTED)
@pytest.mark.parametrize("wrap", [lambda path: path, gzipped], ids=["gzip layer", "gzip in gzip"])
def test_a_compression_bomb_is_refused_before_it_grows(wrap, tmp_path, intake, checked):
    archive = wrap(docker_save(tmp_path / "a.tar", LAYER, stored=[zeros_layer(mebibytes=2048)]))
    assert archive.stat().st_size < 3 * MIB
    before = processor_seconds_of_children()
    with pytest.raises(ImageInvalid, match="grows to more than") as caught:
        intake(archive)
    assert caught.value.reason is Reason.COMPRESSION_BOMB
    assert processor_seconds_of_children() - before < 8
    assert [path.name for path in checked.parent.iterdir() if "intake" in path.name or path == checked] == []


def test_an_unpacked_size_over_the_limit_is_refused_and_leaves_no_file(tmp_path, intake, checked):
    layer = tar_of(entry("big", os.urandom(2 * MIB)))
    with pytest.raises(ImageInvalid) as caught:
        intake(docker_save(tmp_path / "a.tar", layer), limits=IntakeLimits(unpacked_bytes=MIB))
    assert caught.value.reason is Reason.TOO_LARGE
    assert not checked.exists()
    assert [path.name for path in checked.parent.iterdir() if "intake" in path.name or path == checked] == []


@pytest.mark.catalogue(9, attack="200 000 empty files in a layer", verdict="refused: too_many_files", guard=COUNTED)
def test_a_layer_of_very_many_empty_files_is_refused(tmp_path, refusal):
    block = tar_of(*(entry(f"{index:04}") for index in range(1000)))[: 1000 * 512]
    archive = docker_save(tmp_path / "a.tar", block * 200 + bytes(1024))
    reason, message = refusal(archive, limits=IntakeLimits(entries=199_999))
    assert reason is Reason.TOO_MANY_FILES
    assert "199,999" in message


@pytest.mark.catalogue(
    10, attack="130 layers", verdict="refused: too_many_layers", guard="layers are counted before any is read"
)
def test_more_layers_than_an_engine_can_stack_are_refused(tmp_path, refusal):
    layers = [tar_of(entry(f"file{index}")) for index in range(130)]
    reason, message = refusal(docker_save(tmp_path / "a.tar", *layers))
    assert reason is Reason.TOO_MANY_LAYERS
    assert "130 layers; at most 120" in message


@pytest.mark.parametrize("path", ["d/" * 3000 + "x", "x" * 256, "a/" + "x" * 256 + "/b"])
def test_a_path_that_no_file_system_can_hold_is_refused(path, tmp_path, refusal):
    reason, message = refusal(docker_save(tmp_path / "a.tar", tar_of(entry(path))))
    assert reason is Reason.UNSAFE_PATH
    assert "Rename or remove the file" in message


UPLOADS = {
    "empty": (b"", Reason.TRUNCATED),
    "text": (b"hello" * 500, Reason.NOT_AN_ARCHIVE),
    "zip": (b"PK\x03\x04" + bytes(2000), Reason.NOT_AN_ARCHIVE),
    "xz": (b"\xfd7zXZ\x00" + bytes(2000), Reason.NOT_AN_ARCHIVE),
    "bzip2": (b"BZh9" + bytes(2000), Reason.NOT_AN_ARCHIVE),
    "gzip of text": (gzip.compress(b"hello" * 500), Reason.NOT_AN_ARCHIVE),
    "damaged gzip": (gzip.compress(LAYER)[:20] + b"\xff" * 400, Reason.MALFORMED),
    "damaged zstd": (b"\x28\xb5\x2f\xfd" + b"\xff" * 400, Reason.MALFORMED),
    "tar without an image": (LAYER, Reason.NOT_AN_ARCHIVE),
    "rar": (b"Rar!\x1a\x07\x01\x00" + bytes(2000), Reason.NOT_AN_ARCHIVE),
    "Singularity": (b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0" + bytes(2000), Reason.NOT_AN_ARCHIVE),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(2000), Reason.NOT_AN_ARCHIVE),
    "build context": (tar_of(entry("Dockerfile", b"FROM scratch\n"), entry("run.sh", b"")), Reason.NOT_AN_ARCHIVE),
    "exported": (tar_of(folder("dev"), folder("etc"), device("dev/null", major=1, minor=3)), Reason.NOT_AN_ARCHIVE),
    "exported, links twice": (tar_of(folder("usr"), entry("etc/x"), entry("etc/x")), Reason.NOT_AN_ARCHIVE),
}


@pytest.mark.catalogue(
    23,
    attack="empty, truncated, zip, non-tar upload",
    verdict="refused: truncated, not_an_archive, malformed",
    guard="the form is told from the bytes, read strictly",
)
@pytest.mark.parametrize("upload", UPLOADS)
def test_what_is_no_image_archive_is_refused_with_what_to_do(upload, tmp_path, refusal):
    data, expected = UPLOADS[upload]
    (tmp_path / "a.tar").write_bytes(data)
    reason, message = refusal(tmp_path / "a.tar")
    assert reason is expected
    assert "pload" in message


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        ("exported", "as `docker export` writes it"),
        ("exported, links twice", "as `docker export` writes it"),
        ("build context", "holds a Dockerfile and no image. Build it"),
        ("Singularity", "an image of Apptainer or Singularity"),
        ("rar", "a rar file"),
        ("tar without an image", "neither manifest.json nor index.json"),
    ],
)
def test_a_wrong_kind_of_file_is_called_what_it_is(upload, words, tmp_path, refusal):
    (tmp_path / "a.tar").write_bytes(UPLOADS[upload][0])
    assert words in refusal(tmp_path / "a.tar")[1]


@pytest.mark.docker
def test_what_docker_export_really_writes_is_called_by_its_name(base_image, tmp_path, refusal):
    name = f"assay-test-{tmp_path.name}"
    subprocess.run(["docker", "create", "--name", name, base_image, "true"], check=True, capture_output=True)
    try:
        subprocess.run(["docker", "export", "--output", str(tmp_path / "a.tar"), name], check=True, capture_output=True)
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)
    reason, message = refusal(tmp_path / "a.tar")
    assert reason is Reason.NOT_AN_ARCHIVE
    assert "as `docker export` writes it" in message


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_an_upload_cut_off_anywhere_is_refused(share, compress, tmp_path, refusal):
    archive = docker_save(tmp_path / "a.tar", tar_of(entry("random", os.urandom(50_000))))
    whole = compress(archive.read_bytes().rstrip(b"\0"))
    archive.write_bytes(whole[: int(len(whole) * share)])
    reason, _ = refusal(archive)
    assert reason in (Reason.TRUNCATED, Reason.NOT_AN_ARCHIVE)


DOCUMENTS = {
    "duplicate keys": b'{"config": {}, "config": {}}',
    "NaN": b'{"size": NaN}',
    "bottomless": b"[" * 200_000,
    "huge integer": b'{"a": ' + b"9" * 100_000 + b"}",
    "not UTF-8": b'{"a": "\xff"}',
    "a number": b"12",
}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_that_are_no_honest_json_are_refused(document, tmp_path, refusal):
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(entry("manifest.json", DOCUMENTS[document])))
    assert refusal(path)[0] is Reason.MALFORMED
    manifest = entry("manifest.json", json.dumps(naming()).encode())
    path.write_bytes(tar_of(entry("c.json", DOCUMENTS[document]), entry("layer.tar", LAYER), manifest))
    assert refusal(path)[0] is Reason.MALFORMED


def test_headers_that_readers_disagree_about_are_refused(tmp_path, refusal):
    info, _ = entry("x")
    sparse = bytearray(info.tobuf())
    sparse[156:157] = b"S"
    sparse[148:156] = b"%06o\0 " % (sum(sparse) - sum(sparse[148:156]) + 8 * 32)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 40)}
    negative, _ = entry("x")
    negative.size = -1
    for index, header in enumerate((bytes(sparse), info.tobuf(), negative.tobuf(format=1))):
        archive = docker_save(tmp_path / f"{index}.tar", header + bytes(1024))
        assert refusal(archive)[0] is Reason.MALFORMED


def test_the_body_of_a_link_cannot_hide_a_header_from_us(tmp_path, refusal):
    """Go ignores the size of a link, so what a careless reader takes for its body is the next entry to the engine."""
    link, _ = symlink("innocent", "target")
    link.size = 1024
    hidden = tar_of(entry("../../etc/cron.d/x", b"x"))
    archive = docker_save(tmp_path / "a.tar", link.tobuf() + hidden)
    assert refusal(archive)[0] is Reason.UNSAFE_PATH


def test_an_oci_blob_without_its_hash_and_a_bottomless_index_are_refused(tmp_path, refusal):
    archive = oci_layout(tmp_path / "a.tar")
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b'"os": "linux"', b'"os": "LINUX"'))
    assert refusal(archive)[0] is Reason.MALFORMED
    index = {"manifests": [{"digest": "sha256:" + "0" * 64}]}
    archive.write_bytes(tar_of(entry("index.json", json.dumps(index).encode())))
    assert refusal(archive)[0] is Reason.MALFORMED


def test_the_reading_process_runs_into_its_own_limits_and_not_into_ours(tmp_path, intake):
    member = entry("a.json", b"[" + b" " * (64 * MIB) + b"]")
    archive = docker_save(tmp_path / "a.tar", members=[member])
    generous = {"document_bytes": 1 << 40, "documents_bytes": 1 << 40}
    assert intake(archive, limits=IntakeLimits(**generous)).layers == 1
    with pytest.raises(ImageInvalid) as caught:
        intake(archive, limits=IntakeLimits(memory_bytes=64 * MIB, **generous))
    assert caught.value.reason is Reason.TOO_COSTLY


def test_a_reading_process_that_spins_is_stopped(tmp_path, intake):
    archive = docker_save(tmp_path / "a.tar", LAYER, stored=[zeros_layer(mebibytes=4096)])
    limits = IntakeLimits(cpu_seconds=1, compression_ratio=10**6)
    with pytest.raises(ImageInvalid) as caught:
        intake(archive, limits=limits)
    assert caught.value.reason is Reason.TOO_COSTLY


@pytest.mark.catalogue(
    27,
    attack="no disk left while an image is checked",
    verdict="ours, retried; no attempt charged",
    guard="ENOSPC is told apart from everything an archive can do",
)
def test_a_full_disk_is_our_fault_and_not_the_participants(tmp_path):
    archive = docker_save(tmp_path / "a.tar")
    request = {"limits": {}, "architecture": "amd64", "needs_command": True, "kept": None}
    with (
        archive.open("rb") as source,
        Path("/dev/full").open("r+b", buffering=0) as full,
        pytest.raises(IntakeUnavailable, match="space"),
    ):
        ask_child(source=source.fileno(), destination=full.fileno(), request=request, wall_seconds=30)


def test_the_reading_process_has_no_rights_to_lose():
    """The child gives everything up before it reads the first byte: what /proc says about one that has."""
    program = """
import resource
from containers.intake.child import give_up_rights
from containers.intake.limits import IntakeLimits
give_up_rights(limits=IntakeLimits())
print(open("/proc/self/status").read())
print(f"Space:\t{resource.getrlimit(resource.RLIMIT_AS)[0]}")
print(f"Network:\t{open('/proc/self/net/dev').read().count(':')}")
"""
    child = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    fields = dict(line.split(":\t", 1) for line in child.stdout.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert fields["Space"] == str(512 * MIB)
    if os.geteuid() == 0:
        assert fields["Uid"].split() == ["65533"] * 4
        assert fields["CapEff"] == "0" * 16
        assert fields["Network"] == "1"  # only a loopback that is down


def test_a_refusal_shows_no_more_of_an_archive_than_a_line(tmp_path, refusal):
    for index, name in enumerate(("../" + "A" * 3000, "../\x1b[31m\n")):
        _, message = refusal(docker_save(tmp_path / f"{index}.tar", tar_of(entry(name, b"x"))))
        assert len(message) < 400
        assert message.isprintable()


def test_one_layer_cannot_stand_for_two(tmp_path, refusal):
    config = config_of(LAYER) | {"rootfs": {"type": "layers", "diff_ids": [sha256(LAYER), sha256(b"x")]}}
    body = json.dumps(config).encode()
    manifest = naming(layers=["layer.tar", "layer.tar"])
    entries = [entry("c.json", body), entry("layer.tar", LAYER), entry("manifest.json", json.dumps(manifest).encode())]
    (tmp_path / "a.tar").write_bytes(tar_of(*entries))
    assert refusal(tmp_path / "a.tar")[0] is Reason.LAYER_MISMATCH
