"""A model that is handed in beside an image becomes its last layer, of plain files in one folder."""

import io
import json
import tarfile

import pytest

from containers.intake import ImageInvalid, KeptImage, inspect_archive
from containers.spec import is_model_folder
from image_archives import LAYER, config_of, docker_save, entry, folder, gzipped, sha256, symlink, tar_of

WEIGHTS = tar_of(folder("./"), folder("./net"), entry("./net/weights.bin", b"\7" * 70_000), entry("config.json", b"{}"))


def inspected(tmp_path, model: bytes, **more):
    (tmp_path / "model.tar").write_bytes(model)
    archive = docker_save(tmp_path / "image.tar", LAYER)
    return inspect_archive(
        source=archive, destination=tmp_path / "checked.tar", model=tmp_path / "model.tar", needs_command=False, **more
    )


def layers(path) -> list[bytes]:
    with tarfile.open(path) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json"))
        config = json.load(archive.extractfile(manifest["Config"]))
        bodies = [archive.extractfile(name).read() for name in manifest["Layers"]]
    assert config["rootfs"]["diff_ids"] == [sha256(body) for body in bodies]
    return bodies


@pytest.mark.parametrize("is_zipped", [False, True])
def test_its_files_lie_in_the_folder_and_everybody_may_read_them(tmp_path, is_zipped):
    (tmp_path / "m").write_bytes(WEIGHTS)
    model = gzipped(tmp_path / "m").read_bytes() if is_zipped else WEIGHTS
    report = inspected(tmp_path, model)
    first, last = layers(tmp_path / "checked.tar")
    assert first == LAYER
    assert report.layers == 2
    with tarfile.open(fileobj=io.BytesIO(last)) as made:
        found = {info.name: (info.isdir(), info.mode, info.uid) for info in made}
        assert made.extractfile("opt/ml/model/net/weights.bin").read() == b"\7" * 70_000
    assert found == {
        **dict.fromkeys(("opt", "opt/ml", "opt/ml/model", "opt/ml/model/net"), (True, 493, 0)),
        **{f"opt/ml/model/{name}": (False, 0o644, 0) for name in ("net/weights.bin", "config.json")},
    }


def test_the_identity_of_the_image_follows_from_the_model(tmp_path):
    one, again = inspected(tmp_path, WEIGHTS), inspected(tmp_path, WEIGHTS)
    other = inspected(tmp_path, tar_of(entry("config.json", b"[]")))
    elsewhere = inspected(tmp_path, WEIGHTS, model_folder="/mlcommons/volumes/additional_files")
    assert one.image_id == again.image_id
    assert len({one.image_id, other.image_id, elsewhere.image_id}) == 3
    assert one.uploaded_image_id == other.uploaded_image_id


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (tar_of(symlink("weights", "/etc/passwd")), "a symbolic link"),
        (tar_of(entry("../escape", b"x")), "leads out of it"),
        (tar_of(entry("net/.wh.weights", b"")), "kept for the system"),
        (WEIGHTS[:40_000], "too early"),
        (b"PK\x03\x04" + bytes(600), "a zip file"),
        (b"no tar at all" * 100, "no tar archive"),
        (b"", "no tar archive"),
    ],
)
def test_what_is_no_plain_tar_of_files_is_refused_with_what_to_do(tmp_path, model, said):
    with pytest.raises(ImageInvalid, match=said):
        inspected(tmp_path, model)
    assert not (tmp_path / "checked.tar").exists()


def test_where_a_model_may_lie():
    for good in ("/opt/ml/model", "/mlcommons/volumes/additional_files", "/app/weights-1.0"):
        assert is_model_folder(good)
    for bad in (
        "/",
        "/opt",
        "opt/ml",
        "/proc/self",
        "/etc/ssl",
        "/opt/../etc",
        "/opt/ml/",
        "/opt/a b",
        "/x/" + "a" * 300,
    ):
        assert not is_model_folder(bad)


OTHER = tar_of(entry("config.json", b"[]"))


@pytest.mark.parametrize("user", ["", "1000:1000", "65532"])
def test_a_kept_image_gets_another_model_and_the_id_it_would_have_had(tmp_path, user):
    """Neither the image nor the model is sent again: both are taken from what was checked before."""
    save = {
        "source": docker_save(
            tmp_path / "image.tar",
            LAYER,
            config=config_of(LAYER, settings={"User": user, "Entrypoint": ["/copy"], "Volumes": {"/data": {}}}),
        )
    }
    (tmp_path / "one.tar").write_bytes(WEIGHTS)
    (tmp_path / "two.tar").write_bytes(OTHER)

    def check(name: str, **more):
        return inspect_archive(destination=tmp_path / f"{name}-checked.tar", needs_command=False, **more)

    plain = check("plain", **save)
    one = check("one", **save, model=tmp_path / "one.tar", model_folder="/weights/here")
    two = check("two", **save, model=tmp_path / "two.tar")
    for source, has_model in (("plain", False), ("one", True)):
        kept = KeptImage.of_report(one.to_json(), has_model=has_model)
        source = tmp_path / f"{source}-checked.tar"
        assert check("again", source=source, kept=kept, model=tmp_path / "two.tar") == two
        assert check("again", source=source, kept=kept) == plain
        other = {"model": tmp_path / "two-checked.tar", "model_kept_in": "/opt/ml/model"}
        found = check("again", source=source, kept=kept, **other)
        assert (found.image_id, found.sha256) == (two.image_id, two.sha256)
        assert layers(tmp_path / "again-checked.tar") == layers(tmp_path / "two-checked.tar")
