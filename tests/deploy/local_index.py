"""Made-up distributions in a folder that stands for an index, so that tests install without a network."""

import hashlib
import zipfile
from pathlib import Path

BACKEND = '''
"""Builds the made-up project: what PEP 660 asks for, and nothing to fetch."""
import zipfile
from pathlib import Path


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    import alpha  # the build tool, which the lock installed: with build isolation it would be missing
    name = "project-1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, name), "w") as wheel:
        wheel.writestr("project.pth", str(Path.cwd()))
        wheel.writestr("project-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: project\\nVersion: 1.0\\nRequires-Dist: beta>=1\\n")
        wheel.writestr("project-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("project-1.0.dist-info/RECORD", "")
    return name


def get_requires_for_build_editable(config_settings=None):
    return []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    raise NotImplementedError("the tests install in place")
'''
PYPROJECT = """
[build-system]
requires = ["alpha>=1"]
build-backend = "backend"
backend-path = ["."]

[project]
name = "project"
version = "1.0"
"""


def wheel(
    folder: Path, *, name: str, version: str, requires: tuple[str, ...] = (), extras: tuple[str, ...] = ()
) -> str:
    """Write one wheel with one module. Its line for a lock."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {line}" for line in requires]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{about}/METADATA", "\n".join(metadata) + "\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def project(folder: Path, *, index: Path) -> str:
    """A project with a complete lock, and an index that holds the locked releases and nothing else. The lock."""
    lock = wheel(index, name="alpha", version="1.0", requires=("beta>=1", "coverage_like[toml]>=1"))
    lock += wheel(index, name="beta", version="1.0", requires=("gamma>=1",))
    lock += wheel(index, name="coverage_like", version="1.0", requires=('gamma>=1; extra == "toml"',), extras=("toml",))
    lock += wheel(index, name="gamma", version="1.0")
    (folder / "requirements.lock").write_text(lock)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    return lock


def release_newer(index: Path) -> None:
    """A year later: newer releases of what others require, plainly and with an extra."""
    wheel(index, name="gamma", version="2.0")
    wheel(index, name="beta", version="2.0", requires=("gamma>=2",))
    wheel(index, name="coverage_like", version="2.0", requires=('gamma>=2; extra == "toml"',), extras=("toml",))
