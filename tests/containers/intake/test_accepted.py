"""Honest archives of every form are accepted, rewritten under our identity, and load as what was checked."""

import gzip
import json
import subprocess
import tarfile
import uuid

import pytest
import zstandard

from containers.intake import IntakeReport, load_archive
from image_archives import LAYER, config_of, docker_save, entry, folder, gzipped, oci_layout, sha256, symlink, tar_of

UPPER = tar_of(folder("app"), entry("app/model.bin", b"\7" * 5000))


def members(path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def test_a_docker_save_archive_is_rewritten_without_tags_and_with_our_configuration(tmp_path, intake, checked):
    config = config_of(LAYER, UPPER)
    report = intake(
        docker_save(tmp_path / "a.tar", LAYER, UPPER, config=config, tags=["platform-evaluator:1.0", "postgres:16"])
    )
    written = members(checked)
    (manifest,) = json.loads(written["manifest.json"])
    assert manifest["RepoTags"] is None
    assert (
        sha256(written[manifest["Config"]]) == report.image_id == f"sha256:{manifest['Config'].removesuffix('.json')}"
    )
    assert [written[name] for name in manifest["Layers"]] == [LAYER, UPPER]
    assert report.uploaded_image_id == sha256(json.dumps(config).encode()) != report.image_id
    assert report.layers == 2
    assert report.bytes == checked.stat().st_size
    assert f"sha256:{report.sha256}" == sha256(checked.read_bytes())
    assert report.entries == {"file": 3, "folder": 2}
    assert IntakeReport.from_json(json.loads(json.dumps(report.to_json()))) == report


FORMS = {
    "docker save": docker_save,
    "docker save, gzip": lambda path, *layers: gzipped(docker_save(path, *layers)),
    "docker save, zstd": lambda path, *layers: _zstd(docker_save(path, *layers)),
    "gzip layers": lambda path, *layers: docker_save(path, *layers, stored=[gzip.compress(layer) for layer in layers]),
    "gzip layer in two members": lambda path, *layers: docker_save(
        path, *layers, stored=[gzip.compress(layer[:700]) + gzip.compress(layer[700:]) for layer in layers]
    ),
    "zstd layers": lambda path, *layers: docker_save(
        path, *layers, stored=[zstandard.compress(layer) for layer in layers]
    ),
    "oci": oci_layout,
    "oci, gzip layers": lambda path, *layers: oci_layout(
        path, *layers, stored=[gzip.compress(layer) for layer in layers]
    ),
    "oci, gzip all": lambda path, *layers: gzipped(
        oci_layout(path, *layers, stored=[gzip.compress(layer) for layer in layers])
    ),
}


def _zstd(path):
    path.write_bytes(zstandard.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_image_becomes_the_same_archive(form, tmp_path, judge, checked):
    plain = judge(docker_save(tmp_path / "plain.tar", LAYER, UPPER))
    expected = members(checked)
    report = judge(FORMS[form](tmp_path / "other.tar", LAYER, UPPER))
    assert (report.image_id, report.uploaded_image_id) == (plain.image_id, plain.uploaded_image_id)
    assert members(checked) == expected


def test_names_that_begin_with_a_dot_and_a_slash_are_the_same_names(tmp_path, judge):
    archive = docker_save(tmp_path / "a.tar")
    with tarfile.open(archive) as source:
        entries = [entry(f"./{info.name}", source.extractfile(info).read()) for info in source]
    archive.write_bytes(tar_of(folder("./"), *entries))
    assert judge(archive).layers == 1


def test_a_layer_that_occurs_twice_may_be_stored_once_and_linked(tmp_path, judge, checked):
    config = config_of(LAYER, UPPER, LAYER)
    names = ["0/layer.tar", "1/layer.tar", "2/layer.tar"]
    body = json.dumps(config).encode()
    manifest = [{"Config": "c.json", "RepoTags": None, "Layers": names}]
    members_of_archive = [entry("c.json", body), entry(names[0], LAYER), entry(names[1], UPPER)]
    members_of_archive += [symlink(names[2], "../0/layer.tar"), entry("manifest.json", json.dumps(manifest).encode())]
    (tmp_path / "a.tar").write_bytes(tar_of(*members_of_archive))
    assert judge(tmp_path / "a.tar").layers == 3
    (written,) = json.loads(members(checked)["manifest.json"])
    assert written["Layers"][0] == written["Layers"][2] != written["Layers"][1]


def test_attestations_and_other_platforms_in_an_oci_index_are_passed_over(tmp_path, judge):
    others = [
        {"digest": "sha256:" + "0" * 64, "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": "sha256:" + "1" * 64, "platform": {"os": "linux", "architecture": "arm64"}},
    ]
    archive = oci_layout(tmp_path / "a.tar", platform={"os": "linux", "architecture": "amd64"}, extra_manifests=others)
    assert judge(archive).layers == 1


def test_the_report_names_the_base_system_and_the_versions_it_can_see(tmp_path, judge):
    packages = "opt/conda/lib/python3.10/site-packages"
    layer = tar_of(
        entry("usr/lib/os-release", b'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.4 LTS"\n'),
        symlink("etc/os-release", "../usr/lib/os-release"),
        entry("opt/conda/bin/python3.10", b"x"),
        folder("usr/local/cuda-11.8"),
        entry(f"{packages}/torch-2.1.0+cu118.dist-info/METADATA", b"x"),
        entry(f"{packages}/nnunetv2-2.2.1.dist-info/METADATA", b"x"),
    )
    upper = tar_of(entry(f"{packages}/torch-2.2.0.dist-info/METADATA", b"x"))
    report = judge(docker_save(tmp_path / "a.tar", layer, upper))
    assert report.base_os == "Ubuntu 22.04.4 LTS"
    assert report.versions == {"python": "3.10", "cuda": "11.8", "torch": "2.2.0", "nnunetv2": "2.2.1"}


def test_the_same_upload_twice_gets_the_same_identity(tmp_path, intake):
    archive = docker_save(tmp_path / "a.tar")
    assert intake(archive) == intake(archive)


def test_an_image_without_a_command_is_fine_where_the_phase_brings_one(tmp_path, judge):
    archive = docker_save(tmp_path / "a.tar", config=config_of(LAYER, settings={"Cmd": None}))
    assert judge(archive, needs_command=False).command == ()


@pytest.mark.docker
@pytest.mark.xdist_group("engine")
def test_the_engine_arrives_at_the_image_id_we_computed(tmp_path, intake, checked, docker_engine):
    unique = tar_of(entry(uuid.uuid4().hex))
    report = intake(docker_save(tmp_path / "a.tar", LAYER, unique, LAYER, tags=["assay-test/never:1"]))
    try:
        load_archive(docker_engine, checked, report.image_id)
        facts = docker_engine.image_facts(report.image_id)
        assert facts.command == ("/app/run.sh",)
        tags = subprocess.run(
            ["docker", "images", "-q", "assay-test/never"], capture_output=True, text=True, check=True
        )
        assert tags.stdout == ""
    finally:
        docker_engine.remove_image(report.image_id)
    assert report.image_id not in docker_engine.image_ids()


def test_files_that_only_root_can_read_are_warned_about(tmp_path, intake):
    closed = tar_of(
        entry("root", kind=tarfile.DIRTYPE, mode=0o700),
        entry("root/.bashrc", b"#", mode=0o644),
        entry("root/model", kind=tarfile.DIRTYPE, mode=0o755),
        entry("root/model/weights.bin", b"\7" * 50, mode=0o644),
        entry("etc/shadow", b"root:*", mode=0o600),
        entry("workspace", kind=tarfile.DIRTYPE, mode=0o755),
        entry("workspace/predict.sh", b"true", mode=0o600),
        entry("workspace/open.txt", b"", mode=0o644),
    )
    report = intake(docker_save(tmp_path / "a.tar", LAYER, closed))
    assert report.warnings == (), "a phase that runs as root has no trouble with them"
    (warning,) = report.warnings_as_user
    assert warning.startswith("2 files (such as /root/model/weights.bin) can be read by root only")
    assert "65532" in warning


def test_an_image_that_anybody_can_read_is_not_warned_about(tmp_path, intake):
    report = intake(docker_save(tmp_path / "a.tar", LAYER, UPPER))
    assert (report.warnings, report.warnings_as_user) == ((), ())
