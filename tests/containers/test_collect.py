"""Taking output we do not trust: each trick an algorithm could leave behind, and its reason."""

import hashlib
import os
import socket
from pathlib import Path

import pytest

from containers.sandbox.collect import collect_outputs, names_found
from containers.spec import OutputSpec
from containers.verdicts import Reason, Verdict


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.fixture
def take(output, tmp_path):
    def go(path="case.nii.gz", *, max_bytes=1000):
        expected = (OutputSpec(name="segmentation", path=path, max_bytes=max_bytes),)
        return collect_outputs(output_dir=output, expected=expected, destination=tmp_path / "taken")

    return go


def test_a_regular_file_is_taken_with_its_digest(output, take):
    (output / "case.nii.gz").write_bytes(b"voxels")
    (taken,) = take().outputs
    assert (taken.name, taken.bytes, taken.path.read_bytes()) == ("segmentation", 6, b"voxels")
    assert taken.sha256 == hashlib.sha256(b"voxels").hexdigest()


def test_a_file_in_a_folder_is_taken(output, take):
    (output / "masks").mkdir()
    (output / "masks" / "liver.nii.gz").write_bytes(b"liver")
    assert take("masks/liver.nii.gz").outputs[0].bytes == 5


@pytest.mark.parametrize(
    ("path", "name"), [("images/ct/*", "3f2a.mha"), ("images/ct/*", "Scan.TIFF"), ("images/ct/*.mha", "a.mha")]
)
def test_the_one_file_of_its_kind_is_taken_whatever_its_name(output, take, path, name):
    folder = output / "images" / "ct"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"voxels")
    (folder / "notes.json").write_bytes(b"{}")
    assert take(path).outputs[0].path.read_bytes() == b"voxels"


@pytest.mark.parametrize(
    ("names", "verdict", "reason"),
    [
        ([], Verdict.OUTPUT_MISSING, Reason.MISSING),
        (["a.nii.gz"], Verdict.OUTPUT_MISSING, Reason.MISSING),
        (["a.mha", "b.mha"], Verdict.OUTPUT_INVALID, Reason.NOT_ONE_FILE),
        (["a.mha", "b.tif"], Verdict.OUTPUT_INVALID, Reason.NOT_ONE_FILE),
    ],
)
def test_none_or_several_files_are_not_guessed_among(output, take, names, verdict, reason):
    (output / "images").mkdir()
    for name in names:
        (output / "images" / name).write_bytes(b"voxels")
    (problem,) = take("images/*").problems
    assert (problem.verdict, problem.reason) == (verdict, reason)


def test_a_link_with_the_only_fitting_name_is_not_followed(output, take, tmp_path):
    (output / "images").mkdir()
    (output / "images" / "a.mha").symlink_to(secret(tmp_path))
    (problem,) = take("images/*").problems
    assert problem.reason == Reason.SYMLINK


def test_an_empty_file_is_taken(output, take):
    (output / "case.nii.gz").touch()
    assert take().outputs[0].bytes == 0


def secret(tmp_path):
    path = tmp_path / "reference.nii.gz"
    path.write_bytes(b"the hidden reference")
    return path


def leave_absolute_link(output, tmp_path):
    (output / "case.nii.gz").symlink_to(secret(tmp_path))


def leave_relative_link(output, tmp_path):
    secret(tmp_path)
    (output / "case.nii.gz").symlink_to("../reference.nii.gz")


def leave_link_loop(output, tmp_path):
    (output / "case.nii.gz").symlink_to("case.nii.gz")


def leave_hard_link(output, tmp_path):
    (output / "case.nii.gz").hardlink_to(secret(tmp_path))


def leave_fifo(output, tmp_path):
    os.mkfifo(output / "case.nii.gz")


def leave_socket(output, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(output)
        try:
            listener.bind("case.nii.gz")
        finally:
            os.chdir(here)


def leave_folder(output, tmp_path):
    (output / "case.nii.gz").mkdir()


@pytest.mark.parametrize(
    ("leave", "reason"),
    [
        (leave_absolute_link, Reason.SYMLINK),
        (leave_relative_link, Reason.SYMLINK),
        (leave_link_loop, Reason.SYMLINK),
        (leave_hard_link, Reason.HARD_LINK),
        (leave_fifo, Reason.NOT_A_FILE),
        (leave_socket, Reason.NOT_A_FILE),
        (leave_folder, Reason.NOT_A_FILE),
    ],
)
def test_anything_but_a_regular_file_is_invalid(output, take, tmp_path, leave, reason):
    leave(output, tmp_path)
    collection = take()
    assert collection.outputs == ()
    assert collection.first_problem == (Verdict.OUTPUT_INVALID, reason)


def test_a_link_in_the_middle_of_a_path_is_not_followed(output, take, tmp_path):
    secret(tmp_path)
    (output / "masks").symlink_to(tmp_path)
    assert take("masks/reference.nii.gz").first_problem == (Verdict.OUTPUT_INVALID, Reason.SYMLINK)


@pytest.mark.parametrize("written", ["CASE.nii.gz", "case.nii", "sub/case.nii.gz"])
def test_a_file_under_another_name_is_missing(output, take, written):
    (output / "sub").mkdir()
    (output / written).write_bytes(b"voxels")
    assert take().first_problem == (Verdict.OUTPUT_MISSING, Reason.MISSING)


def test_a_sparse_file_is_refused_by_what_it_claims_to_hold(output, take):
    with (output / "case.nii.gz").open("wb") as file:
        file.truncate(500 * 2**30)
    assert take().first_problem == (Verdict.OUTPUT_TOO_LARGE, Reason.FILE_TOO_LARGE)


def test_the_largest_size_allowed_is_allowed(output, take):
    (output / "case.nii.gz").write_bytes(b"x" * 1000)
    assert take().outputs[0].bytes == 1000


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", ""])
def test_an_output_path_that_leaves_the_mount_is_a_mistake_of_ours(take, path):
    with pytest.raises(ValueError, match="stay below it"):
        take(path)


def test_other_files_are_ignored_and_each_problem_is_told_apart(output, tmp_path):
    (output / "a").write_bytes(b"a")
    (output / "b").symlink_to("a")
    (output / "unexpected").write_bytes(b"u")
    expected = tuple(OutputSpec(name=name, path=name) for name in "abc")
    collection = collect_outputs(output_dir=output, expected=expected, destination=tmp_path / "taken")
    assert [taken.name for taken in collection.outputs] == ["a"]
    assert [(problem.name, problem.reason) for problem in collection.problems] == [("b", "symlink"), ("c", "missing")]


def test_an_author_is_told_some_names_that_lie_in_the_output(output):
    for name in (b"CASE.nii.gz", b"new\nline", b"\x1b[2Jclear", b"\xff"):
        (output / os.fsdecode(name)).touch()
    (output / "x" / "below").mkdir(parents=True)
    (output / ("long" * 50)).touch()
    found = names_found(output)
    assert found == ("CASE.nii.gz", "long" * 20, "new\u240aline", "x", "\u241b[2Jclear", "\ufffd")
    for number in range(50):
        (output / f"many-{number}").touch()
    assert len(names_found(output)) == 20
