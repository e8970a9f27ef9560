"""An installation for a whole file of journeys."""

import shutil

import pytest

import installation


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where one is served whose submissions are compiled here."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here: the journey's image is compiled")
    folder = tmp_path_factory.mktemp("installation")
    folder.chmod(0o711)
    with installation.running_installation(folder=folder) as url:
        yield url
