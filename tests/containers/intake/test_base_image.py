"""The base image: found mirrors, stable names, and an image that works without a network."""

import subprocess

import pytest

from containers.base.build import BaseImageError, base_image, parse_index_targets, recipe_tag

TARGETS = """
http://mirror.example/debian/|bookworm|main
http://mirror.example/debian/|bookworm-updates|main
http://mirror.example/debian-security/|bookworm-security|main
http://other.example/apt|nodistro|main
"""


def test_the_mirror_of_the_host_release_is_chosen():
    mirror = parse_index_targets(text=TARGETS, suite="bookworm", proxy="http://proxy.example:3128")
    assert (mirror.uri, mirror.suite, mirror.components) == ("http://mirror.example/debian/", "bookworm", ("main",))
    assert mirror.proxy == "http://proxy.example:3128"


def test_ubuntu_brings_universe_because_pip_lives_there():
    text = "http://u.example/ubuntu/|noble|main\nhttp://u.example/ubuntu/|noble|universe\nhttp://u.example/ubuntu/|noble|restricted"
    assert parse_index_targets(text=text, suite="noble", proxy="").components == ("main", "universe")


def test_a_host_without_its_own_release_is_told_what_to_do():
    with pytest.raises(BaseImageError, match=r"no source for 'trixie' main .*ASSAY_BASE_IMAGE"):
        parse_index_targets(text=TARGETS, suite="trixie", proxy="")


def test_the_name_depends_on_release_and_architecture_only():
    name = recipe_tag(suite="bookworm", architecture="x86_64")
    assert name == recipe_tag(suite="bookworm", architecture="x86_64")
    others = {recipe_tag(suite="trixie", architecture="x86_64"), recipe_tag(suite="bookworm", architecture="aarch64")}
    assert name not in others
    assert name.startswith("assay/base-python:")


@pytest.mark.docker
def test_a_chosen_base_image_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setenv("ASSAY_BASE_IMAGE", "assay-test/no-such-image:1")
    with pytest.raises(BaseImageError, match="load it first"):
        base_image()


@pytest.mark.docker
@pytest.mark.slow
def test_the_base_image_imports_its_packages_as_an_unknown_user_on_a_read_only_file_system(monkeypatch):
    monkeypatch.delenv("ASSAY_BASE_IMAGE", raising=False)
    code = "import numpy, SimpleITK, pwd, os; print(pwd.getpwuid(os.getuid()).pw_name)"
    sandbox = ["--rm", "--network=none", "--read-only", "--user=65532:65532", "--cap-drop=ALL"]
    command = ["docker", "run", *sandbox, base_image(), "python3", "-c", code]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "algorithm\n", "")


@pytest.mark.docker
@pytest.mark.xdist_group("engine")
def test_the_base_image_has_no_set_uid_or_set_gid_file(base_image):
    """Looked for with every capability and in every folder: a sandbox would hide what it may not enter."""
    command = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        base_image,
        "find",
        "/",
        "-xdev",
        "-type",
        "f",
        "-perm",
        "/6000",
    ]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
