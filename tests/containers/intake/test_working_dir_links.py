"""A working directory that is a link could lead into /proc whatever its name: the layers decide, topmost first."""

import pytest

from containers.intake import Reason
from image_archives import config_of, docker_save, entry, folder, hard_link, symlink, tar_of


def archive(path, *layers, working_dir="/w/deep"):
    return docker_save(path, *layers, config=config_of(*layers, settings={"WorkingDir": working_dir}))


STACKS = {
    "a link": [tar_of(symlink("w", "/proc/self/fd/8"))],
    "a link below": [tar_of(folder("w"), symlink("w/deep", "/proc/self/fd/8"))],
    "a link of any target": [tar_of(symlink("w", "elsewhere"), symlink("elsewhere", "/proc/self/fd"))],
    "a folder replaced by a link": [tar_of(folder("w")), tar_of(symlink("w", "/proc/self/fd/8"))],
    "a hard link": [tar_of(symlink("x", "/proc/self/fd/8"), hard_link("w", "x"))],
    "a file": [tar_of(entry("w", b"x"))],
    "written with dots": [tar_of(symlink("./w/", "/proc/self/fd/8"))],
}


@pytest.mark.parametrize("stack", STACKS)
def test_a_working_directory_that_is_no_folder_is_refused(stack, tmp_path, refusal):
    assert refusal(archive(tmp_path / "a.tar", *STACKS[stack]))[0] is Reason.UNSAFE_CONFIGURATION


@pytest.mark.parametrize(
    "layers",
    [
        [tar_of(folder("w"), folder("w/deep"))],
        [tar_of(entry("w/deep/x", b"x"))],
        [tar_of(symlink("w", "/x")), tar_of(folder("w"), folder("w/deep"))],
        [tar_of(folder("other"))],
    ],
)
def test_a_working_directory_that_is_a_folder_or_absent_is_fine(layers, tmp_path, judge):
    assert judge(archive(tmp_path / "a.tar", *layers)).working_dir == "/w/deep"


@pytest.mark.parametrize(("name", "target"), [("dev", "/proc"), ("dev", "elsewhere"), ("proc", "/x"), ("./sys", "/")])
def test_a_system_folder_that_is_a_link_is_refused_whichever_layer_has_it(name, target, tmp_path, refusal):
    stacks = (
        [tar_of(symlink(name, target))],
        [tar_of(folder("dev"), folder("proc"), folder("sys")), tar_of(symlink(name, target))],
    )
    for layers in stacks:
        reason, message = refusal(archive(tmp_path / "a.tar", *layers))
        assert reason is Reason.UNSAFE_CONFIGURATION
        assert "Leave /proc, /sys, /dev as they are" in message


def test_what_lies_in_a_system_folder_is_nobodys_business(tmp_path, judge):
    layer = tar_of(folder("dev"), symlink("dev/null", "/proc/version"), folder("proc"))
    assert judge(archive(tmp_path / "a.tar", layer)).working_dir == "/w/deep"
