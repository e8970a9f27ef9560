"""`assay check`: what an image needs, which profile a phase gives it, and what follows."""

import pytest
from click.testing import CliRunner

from assay.client.session import Session
from assay.node.commands import check
from image_archives import LAYER, config_of, docker_save, entry, tar_of

PASSWD = b"user:x:999:998::/home/user:/bin/sh\n"
PACKAGES = entry("home/user/.local/lib/python3.11/site-packages/torch/nn.py", b"#", mode=0o644)


@pytest.fixture
def told(tmp_path):
    """What the command prints of an image with this USER."""

    def go(*, user, protocol, exit_code=0):
        upper = tar_of(entry("etc/passwd", PASSWD, mode=0o644), PACKAGES)
        config = config_of(LAYER, upper, settings={"User": user})
        archive = docker_save(tmp_path / "image.tar", LAYER, upper, config=config)
        session = Session(url="", token="", path=tmp_path / "none")
        result = CliRunner().invoke(check, [str(archive), "--protocol", protocol], obj=session)
        assert result.exit_code == exit_code, result.output
        return result.output

    return go


def test_an_image_that_fits_its_phase_is_told_so(told):
    output = told(user="user", protocol="segrap23")
    assert "the image needs `image-user`, because" in output
    assert "packages of `pip install --user` lie in /home/user" in output
    assert "this phase runs it under `image-user`, as 999:998" in output
    assert "will probably fail" not in output


def test_an_image_that_does_not_fit_is_told_what_to_change(told):
    output = told(user="user", protocol="feta21")
    assert "this phase runs it under `default`, as 65532:65532" in output
    assert "ask the organizers for `resources: {profile: image-user}`" in output


def test_a_user_who_is_nobody_is_refused_before_the_submission(told):
    output = told(user="ghost", protocol="segrap23", exit_code=1)
    assert "will refuse this one" in output
    assert "useradd --create-home ghost" in output


def test_root_needs_nothing(told):
    assert "nothing in the image's files needs another one" in told(user="", protocol="feta21")


def test_rules_come_from_a_phase_or_a_protocol(tmp_path):
    session = Session(url="", token="", path=tmp_path / "none")
    result = CliRunner().invoke(check, ["image.tar"], obj=session)
    assert result.exit_code == 2
    assert "either --phase CHALLENGE/PHASE or --protocol NAME" in result.output
