"""Images kept as folders: what is unpacked, what is left out, and that nothing can be written outside."""

import json
import os
import stat
import tarfile

import pytest

from containers.engines.image_folders import ImageFolders
from containers.errors import EngineRefused, ImageAbsent
from image_archives import config_of, device, docker_save, entry, folder, hard_link, symlink, tar_of

PLACES = {"dev", "etc", "proc", "sys", "tmp"}
"""Made in every image, for what a runtime mounts there."""
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="owners are kept by root only; run the tests as root")


@pytest.fixture
def images(tmp_path):
    return ImageFolders(tmp_path / "store")


@pytest.fixture
def load(images, tmp_path):
    """Load an image of these layers. Gives the folder of its files."""

    def go(*layers, config=None):
        image_id = images.load(docker_save(tmp_path / "image.tar", *layers, config=config))
        return images.rootfs(image_id)

    return go


def test_an_image_is_known_by_the_digest_of_its_configuration(images, tmp_path):
    layer = tar_of(folder("app"), entry("app/run.sh", b"echo"))
    settings = {"Entrypoint": ["/app/run.sh"], "WorkingDir": "/app", "Env": ["PATH=/bin", "A=b=c"], "User": "1000:1000"}
    archive = docker_save(tmp_path / "image.tar", layer, config=config_of(layer, settings=settings))
    with tarfile.open(archive) as outer:
        config_name = next(name for name in outer.getnames() if name.endswith(".json") and name != "manifest.json")
    image_id = images.load(archive)
    assert image_id == f"sha256:{config_name.removesuffix('.json')}"
    facts = images.facts(image_id)
    assert (facts.image_id, facts.entrypoint, facts.working_dir) == (image_id, ("/app/run.sh",), "/app")
    assert (facts.user, facts.variables, facts.bytes) == ("1000:1000", ("A", "PATH"), 4)
    assert images.environment(image_id) == {"PATH": "/bin", "A": "b=c"}
    assert images.ids() == {image_id}


def test_loading_twice_keeps_one_and_removing_twice_is_no_error(images, tmp_path):
    archive = docker_save(tmp_path / "image.tar")
    image_id = images.load(archive)
    assert images.load(archive) == image_id
    assert [path.name for path in (tmp_path / "store" / "images").iterdir()] == [image_id.removeprefix("sha256:")]
    images.remove(image_id)
    images.remove(image_id)
    assert list((tmp_path / "store" / "images").iterdir()) == []
    with pytest.raises(ImageAbsent):
        images.facts(image_id)


def test_later_layers_cover_whiten_and_empty_earlier_ones(load):
    first = tar_of(
        folder("a"), entry("a/one", b"1"), entry("a/two", b"2"), folder("b"), entry("b/old", b"3"), entry("c", b"4")
    )
    second = tar_of(
        entry("a/.wh.one"), entry("a/two", b"22"), entry("b/new", b"5"), entry("b/.wh..wh..opq"), entry(".wh.c")
    )
    rootfs = load(first, second)
    found = {str(path.relative_to(rootfs)) for path in rootfs.rglob("*")}
    assert found - PLACES == {"a", "a/two", "b", "b/new"}
    assert (rootfs / "a/two").read_bytes() == b"22"


def test_no_link_of_a_layer_leads_out_of_the_folder(load, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    layer = tar_of(
        symlink("up", "../../../../../../.."),
        entry(f"up{outside}/also", b"y"),
        entry("../../escaped", b"z"),
        entry("/etc/assay-was-here", b"w"),
    )
    rootfs = load(layer)
    assert list(outside.iterdir()) == []
    assert (rootfs / "escaped").read_bytes() == b"z"
    assert (rootfs / "etc/assay-was-here").read_bytes() == b"w"
    assert (rootfs / str(outside).lstrip("/") / "also").read_bytes() == b"y"
    with pytest.raises(EngineRefused, match="host"):
        load(tar_of(symlink("host", str(outside)), entry("host/written", b"x")))
    assert list(outside.iterdir()) == []


def test_devices_set_uid_bits_and_scripts_of_the_runtime_are_left_out(load):
    layer = tar_of(
        device("null", major=1, minor=3),
        entry("su", b"#!", mode=0o6755),
        folder(".singularity.d"),
        entry(".singularity.d/env.sh", b"export LD_PRELOAD=/x"),
    )
    rootfs = load(layer)
    assert {path.name for path in rootfs.iterdir()} - PLACES == {"su"}
    assert stat.S_IMODE((rootfs / "su").stat().st_mode) == 0o755


def test_a_link_in_place_of_the_runtimes_scripts_is_removed_and_not_followed(load, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    rootfs = load(tar_of(symlink(".singularity.d", str(kept))))
    assert {path.name for path in rootfs.iterdir()} == PLACES
    assert (kept / "file").exists()


@ROOT_ONLY
def test_owners_modes_and_hard_links_are_kept(load):
    rootfs = load(tar_of(entry("a", b"a", mode=0o640, uid=4711), hard_link("b", "a"), folder("t")))
    facts = (rootfs / "a").stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode), facts.st_nlink) == (4711, 4711, 0o640, 2)


def test_a_layer_that_is_not_what_the_configuration_names_is_refused(images, tmp_path):
    honest, other = tar_of(entry("a", b"a")), tar_of(entry("a", b"b"))
    archive = docker_save(tmp_path / "image.tar", other, config=config_of(honest))
    with pytest.raises(EngineRefused, match="digest"):
        images.load(archive)
    assert list((tmp_path / "store" / "images").iterdir()) == []


def test_an_archive_that_ends_early_leaves_nothing(images, tmp_path):
    archive = docker_save(tmp_path / "image.tar", tar_of(entry("a", b"a" * 100_000)))
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(EngineRefused):
        images.load(archive)
    assert list((tmp_path / "store" / "images").iterdir()) == []


def test_an_image_of_our_own_is_found_by_its_tag(images):
    image_id = images.load_tree(tar_of(entry("keeper", b"x")), entrypoint=("/keeper",), tag="assay/keeper:amd64")
    assert images.facts("assay/keeper:amd64").image_id == image_id
    assert images.facts(image_id).entrypoint == ("/keeper",)


def test_the_store_is_readable_by_its_owner_only(images, tmp_path):
    images.load(docker_save(tmp_path / "image.tar"))
    assert stat.S_IMODE((tmp_path / "store" / "images").stat().st_mode) == 0o700


def test_a_configuration_is_kept_byte_for_byte(images, tmp_path):
    layer = tar_of(entry("a", b"a"))
    config = config_of(layer, settings={"Env": ["NAME=ü"]})
    image_id = images.load(docker_save(tmp_path / "image.tar", layer, config=config))
    kept = (tmp_path / "store" / "images" / image_id.removeprefix("sha256:") / "config.json").read_text()
    assert json.loads(kept) == config
