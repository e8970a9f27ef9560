"""Catalogue group D, end to end: a hostile image on the real engine leaves every trick at once, and none is believed.

What the sandbox hands over goes the way of every prediction: `collect` takes regular files only, `canonicalise` reads them in
a limited process. Where a textbook reader falls for the trick, the test sees it fall.
"""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import SimpleITK as sitk

from containers.engines import OWNER_LABEL
from containers.sandbox.runner import run
from containers.spec import Limits, OutputSpec, RunSpec
from containers.verdicts import Verdict
from evaluator.errors import InvalidVolume
from evaluator.volumes import Grid, canonicalise

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("engine")]

MIB = 2**20
GRID = Grid(
    shape=(8, 9, 10),
    spacing_mm=(1.0, 1.0, 2.0),
    affine=((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 2.0, 0), (0, 0, 0, 1.0)),
)
ALLOWED = frozenset({0, 1, 2})
PROGRAM = Path(__file__).with_name("hostile_outputs.py").read_text()
TAKEN = "only regular files with one name are taken, by descriptors, without following links"
STRICT = "own strict parser, in a limited process without the reference"

NOT_TAKEN = {
    "symlink_absolute": "symlink",
    "symlink_relative": "symlink",
    "symlink_loop": "symlink",
    "folder_link/passwd": "symlink",
    "hard_link": "hard_link",
    "fifo": "not_a_file",
    "socket": "not_a_file",
    "good_case": "missing",
    "nothing": "missing",
}
NOT_READ = {
    "mha_absolute": "external_data",
    "mha_relative": "external_data",
    "mha_header_size": "external_data",
    "mha_list": "external_data",
    "mhd_external": "external_data",
    "nrrd_external": "external_data",
    "hdr_pair": "external_data",
    "mha_format_string": "external_data",
    "mha_empty_zlib": "truncated",
    "mha_bomb": "trailing_data",
    "terabyte_dims": "too_large",
    "gz_bomb": "trailing_data",
    "truncated_body": "truncated",
    "truncated_gzip": "truncated",
    "bad_crc": "gzip_corrupt",
    "trailing_junk": "trailing_data",
    "two_members": "trailing_data",
    "zero_bytes": "format_unsupported",
    "zero_dim": "dimensions_invalid",
    "negative_dim": "dimensions_invalid",
    "seven_dims": "dimensions_invalid",
    "ninety_nine_dims": "dimensions_invalid",
    "far_voxels": "header_invalid",
    "voxels_before_the_file": "header_invalid",
    "nan_spacing": "spacing_invalid",
    "infinite_spacing": "spacing_invalid",
    "zero_spacing": "spacing_invalid",
    "negative_spacing": "spacing_invalid",
    "other_affine": "affine_mismatch",
    "flipped_affine": "affine_mismatch",
    "transposed_shape": "shape_mismatch",
    "half_label": "not_integral",
    "nan_label": "not_finite",
    "huge_label": "label_unknown",
    "negative_label": "label_unknown",
    "unknown_label": "label_unknown",
    "scaled": "label_unknown",
    "complex": "data_type_unsupported",
    "rgb": "data_type_unsupported",
    "pickle": "format_unsupported",
    "npy_object": "format_unsupported",
    "pt": "format_unsupported",
}
READABLE = ("good", "plain_nifti", "setuid")


@pytest.fixture(scope="module")
def ended(base_image, docker_engine, tmp_path_factory):
    """The hostile image's one run, with every file expected."""
    root = tmp_path_factory.mktemp("hostile-outputs")
    (root / "input").mkdir()
    names = [*NOT_TAKEN, *NOT_READ, *READABLE, "facts"]
    spec = RunSpec(
        name=f"assay-test-outputs-{os.getpid()}",
        image_id=base_image,
        input_dir=root / "input",
        outputs=tuple(OutputSpec(name=name, path=name, max_bytes=16 * MIB) for name in names),
        limits=Limits(wall_seconds=60, memory_bytes=1024 * MIB, output_bytes=64 * MIB, output_inodes=128),
        command=("python3", "-c", PROGRAM),
    )
    owner = {OWNER_LABEL: f"tests/outputs-{os.getpid()}"}
    yield run(spec, engine=docker_engine, scratch=root, should_cancel=lambda: False, labels=owner)
    shutil.rmtree(root)


@pytest.fixture
def taken(ended) -> dict[str, Path]:
    assert ended.exit_code == 0, ended.log
    return {output.name: output.path for output in ended.outputs}


@pytest.fixture
def facts(taken) -> dict[str, str]:
    return json.loads(taken["facts"].read_text())


@pytest.fixture
def refusal(taken, tmp_path):
    """The reason a prediction is refused for. Nothing may be written."""

    def go(name: str) -> str:
        destination = tmp_path / "canonical.nii.gz"
        with pytest.raises(InvalidVolume) as caught:
            canonicalise(source=taken[name], destination=destination, grid=GRID, allowed_values=ALLOWED)
        assert not destination.exists()
        return str(caught.value.reason)

    return go


@pytest.fixture
def textbook(taken, tmp_path):
    """What SimpleITK makes of the same bytes under a name it likes."""

    def go(name: str, *, extension: str = ".nii.gz") -> sitk.Image:
        path = tmp_path / f"prediction{extension}"
        shutil.copyfile(taken[name], path)
        return sitk.ReadImage(str(path))

    return go


def test_honest_files_among_them_are_read(taken, tmp_path):
    for name in READABLE:
        destination = tmp_path / f"{name}.nii.gz"
        canonicalise(source=taken[name], destination=destination, grid=GRID, allowed_values=ALLOWED)
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(destination))).max() == 2


@pytest.mark.catalogue(
    66, attack="symbolic link: absolute, relative, loop, folder", verdict="output_invalid (symlink)", guard=TAKEN
)
@pytest.mark.catalogue(67, attack="hard link", verdict="output_invalid (hard_link); EXDEV outward", guard=TAKEN)
@pytest.mark.catalogue(68, attack="FIFO, socket", verdict="output_invalid (not_a_file), no hang", guard=TAKEN)
@pytest.mark.catalogue(
    81, attack="other case, missing file", verdict="output_missing, worst score", guard="exact names only"
)
def test_what_is_no_regular_file_of_the_expected_name_is_not_taken(ended, facts):
    assert ended.verdict is Verdict.OUTPUT_INVALID
    assert {problem.name: problem.reason for problem in ended.problems} == NOT_TAKEN
    assert facts["outward_hard_link"] == "Invalid cross-device link"


@pytest.mark.catalogue(
    69, attack="set-uid file left behind", verdict="a plain copy", guard="nosuid mount; the copy is ours"
)
def test_a_setuid_file_is_just_a_file(taken, facts):
    assert stat.S_IMODE(taken["setuid"].stat().st_mode) & 0o7111 == 0
    assert {"nosuid", "nodev", "noexec"} <= set(facts["mount_options"].split(","))


@pytest.mark.catalogue(
    70, attack="MHA ElementDataFile absolute, ../, LIST, HeaderSize=-1", verdict="external_data", guard=STRICT
)
@pytest.mark.catalogue(
    71, attack="MHD, NRRD with external data", verdict="external_data, format_unsupported", guard=STRICT
)
@pytest.mark.catalogue(72, attack=".hdr/.img pair", verdict="external_data", guard=STRICT)
@pytest.mark.catalogue(73, attack="MHA format string %s, %n", verdict="external_data", guard=STRICT)
@pytest.mark.catalogue(
    74, attack="MHA with an empty zlib stream", verdict="truncated, never recycled memory", guard=STRICT
)
@pytest.mark.catalogue(75, attack="MHA zlib bomb", verdict="trailing_data", guard=STRICT)
@pytest.mark.catalogue(76, attack="NIfTI of 27 TB, gzip bomb", verdict="too_large, trailing_data", guard=STRICT)
@pytest.mark.catalogue(
    77,
    attack="truncated, bad CRC, junk, two members, empty",
    verdict="truncated, gzip_corrupt, trailing_data",
    guard=STRICT,
)
@pytest.mark.catalogue(
    78, attack="dims 0, negative, 7, 99; vox_offset ±1e9", verdict="dimensions_invalid, header_invalid", guard=STRICT
)
@pytest.mark.catalogue(
    79,
    attack="spacing NaN, Inf, 0, negative; other, flipped, transposed grid",
    verdict="spacing_invalid, affine_mismatch, shape_mismatch",
    guard=STRICT,
)
@pytest.mark.catalogue(
    80,
    attack="labels 0.5, NaN, 2^40, -1, unlisted; slope 1e30; complex; RGB",
    verdict="not_integral, not_finite, label_unknown, scaled, data_type_unsupported",
    guard=STRICT,
)
@pytest.mark.catalogue(85, attack="pickle, .npy of objects, .pt", verdict="format_unsupported", guard="never loaded")
@pytest.mark.parametrize("name", NOT_READ)
def test_a_file_that_is_no_honest_volume_is_refused_for_its_reason(name, refusal):
    assert refusal(name) == NOT_READ[name]


def test_a_textbook_reader_hands_out_files_of_the_evaluator(textbook):
    stolen = sitk.GetArrayFromImage(textbook("mha_absolute", extension=".mha")).tobytes()
    assert stolen == Path("/etc/passwd").read_bytes()[: len(stolen)]


@pytest.mark.parametrize(
    "name", ["nan_spacing", "half_label", "huge_label", "negative_label", "flipped_affine", "scaled"]
)
def test_a_textbook_reader_takes_nonsense_for_a_segmentation(name, textbook):
    assert textbook(name).GetNumberOfPixels() == 720
