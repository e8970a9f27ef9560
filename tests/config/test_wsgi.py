"""What a web server has ready before its first request."""

import subprocess
import sys

import pytest

PROGRAM = "import sys, assay.config.wsgi; print('assay.portal.views.challenge' in sys.modules)"


@pytest.mark.slow
def test_pages_are_loaded_before_the_first_request():
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True"]
