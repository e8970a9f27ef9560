"""Build the image: `python -m evaluator.container.build BASE` prints its name.

The context is made anew in a temporary folder: our sources, and the two packages reading a protocol needs, as hash-pinned wheels
for the Python that the base image has.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

HERE = Path(__file__).parent
NAME = "assay/evaluator"


def build(base: str) -> str:
    """Build on `base` and return the image's name."""
    asked = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", base]
    version = subprocess.run(
        [*asked, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], check=True, capture_output=True, text=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="assay-evaluator-") as folder:
        context = Path(folder)
        copytree(HERE.parent, context / "evaluator", ignore=ignore_patterns("__pycache__", "*.o", "build"))
        copy(HERE / "Dockerfile", context / "Dockerfile")
        subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(context / "site")),
                *("--python-version", version, "--only-binary", ":all:", "--no-deps", "--require-hashes"),
                *("-r", str(HERE / "requirements.txt")),
            ],
            check=True,
        )
        before = image_id()
        command = ["docker", "build", "--build-arg", f"BASE={base}", "--tag", NAME, folder]
        subprocess.run(command, check=True, capture_output=True)
    if before not in ("", image_id()):  # the tag has moved on: the image that it named before would stay without a name
        subprocess.run(
            ["docker", "rmi", before], check=False, capture_output=True
        )  # refused while something runs on it
    return NAME


def image_id() -> str:
    """What the tag names now. Empty when there is none."""
    asked = ["docker", "image", "inspect", "--format", "{{.Id}}", NAME]
    return subprocess.run(asked, check=False, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.stdout.write(f"{build(sys.argv[1])}\n")
