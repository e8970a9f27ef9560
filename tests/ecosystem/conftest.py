"""Fixtures of this folder: a base for images of other people, and a server that takes them in."""

import io
import re
import shutil
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pip
import pytest
from django.test import Client
from django.utils import timezone

import factories
import leftovers
import testset_folders
from assay.node.agent import Agent, AgentOptions
from assay.node.http import NodeApi
from assay.runs.nodes import enrol_node
from assay.submissions.models import AlgorithmImage
from assay.testsets import storage
from assay.testsets.services import ingest_testset
from containers.engines.docker import DockerEngine
from containers.errors import EngineUnreachable
from evaluator.protocol import Protocol, load_protocol
from existing_things import SMALL, Server, Workshop
from image_archives import build_image
from wire import send_through

PROGRAMS = (
    "bash",
    "sh", "cat", "chmod", "chown", "cp", "groupadd", "id", "ln", "ls", "mkdir", "mv", "rm", "useradd", "usermod",
)  # fmt: skip
ACCOUNTS = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "group": "root:x:0:\nusers:x:100:\n",
    "shadow": "",
    "login.defs": "USERGROUPS_ENAB yes\n",
}
LEFT_OUT = {
    "__pycache__",
    "test",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "site-packages",
    "dist-packages",
    "tkinter",
    "pydoc_data",
}


def without_caches(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """As root's, whoever runs the test."""
    info.uid = info.gid = 0
    return None if info.name.endswith("__pycache__") else info


LIBRARY_PATH = re.compile(r"(/[^ :()]+\.so[^ :()]*)")


def in_usr(program: str) -> str | None:
    """Where this machine has it."""
    return shutil.which(program, path="/usr/bin:/usr/sbin")


def host_files(python: Path) -> dict[str, Path]:
    """Path in the image → file of this machine: programs, the standard library, and the shared libraries they need."""
    asked = [str(python), "-I", "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]
    library = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    found = [
        path for path in library.rglob("*") if path.is_file() and not set(path.relative_to(library).parts) & LEFT_OUT
    ]
    programs = [python, *(Path(path) for path in map(in_usr, PROGRAMS) if path)]
    linked = [str(path) for path in [*programs, *found] if path in programs or path.suffix == ".so"]
    needed = subprocess.run(["ldd", *linked], capture_output=True, text=True, check=False).stdout
    return {str(path): path.resolve() for path in [*programs, *found, *map(Path, LIBRARY_PATH.findall(needed))]}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Iterator[Workshop]:
    """A base made of this machine's own files: a shell, Python and pip, some 60 MB, so that an archive is quickly read."""
    try:
        with DockerEngine():
            pass
    except EngineUnreachable:
        pytest.skip("no Docker Engine answers here")
    folder = tmp_path_factory.mktemp("workshop")
    python = Path(shutil.which("python3", path="/usr/bin:/bin") or sys.executable).resolve()
    packages = f"/usr/lib/{python.name}/site-packages"
    archive = folder / "root.tar"
    with tarfile.open(archive, "w") as tar:
        for path, source in host_files(python).items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = source.stat().st_size, source.stat().st_mode & 0o755
            with source.open("rb") as content:
                tar.addfile(info, content)
        tar.add(Path(pip.__file__).parent, f"{packages}/pip", filter=without_caches)
        for name in ("bin", "sbin"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(info)
        for name, content in ACCOUNTS.items():
            info = tarfile.TarInfo(f"etc/{name}")
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content.encode()))
    tag = f"assay-tests/small:{uuid.uuid4().hex[:12]}"
    changes = [
        "--change",
        f"ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH={packages}",
    ]
    imported = subprocess.run(
        ["docker", "import", *changes, str(archive), tag], check=False, capture_output=True, text=True
    )
    assert imported.returncode == 0, imported.stderr
    archive.unlink()
    context = folder / "named"
    context.mkdir()
    link = f"RUN mkdir -m 1777 /tmp && ln -sf {python} /usr/bin/python && ln -sf {python} /usr/bin/python3"
    named = build_image(context, [f"FROM {tag}", link])
    leftovers.IMAGES.discard(named)  # removed below, which may be after the session has looked for what was left
    subprocess.run(["docker", "tag", named, f"{tag}-named"], check=True)
    yield Workshop(base=f"{tag}-named", folder=folder)
    subprocess.run(["docker", "rmi", "--force", f"{tag}-named", tag], check=False, capture_output=True)


@pytest.fixture
def serve(scene, tmp_path, settings) -> Iterator[Callable[..., Server]]:
    """A server with one phase of these rules and this test set."""
    settings.HEARTBEAT_SECONDS, settings.LEASE_SECONDS = 3600, 7200  # its thread would not see this test's transaction
    owner = f"tests/ecosystem-{uuid.uuid4().hex[:8]}"

    def go(document: dict, folder: Path) -> Server:
        resources = {**document.get("resources", {}), **SMALL}
        protocol: Protocol = load_protocol({**document, "resources": resources})
        phase = factories.phase(
            challenge=scene.challenge,
            slug="own",
            protocol=factories.protocol(challenge=scene.challenge, document=protocol.document),
            opens_at=timezone.now() - timedelta(days=1),
            closes_at=timezone.now() + timedelta(days=1),
        )
        packed = testset_folders.packed(folder)
        storage.save_file(key="testset.tar", stream=io.BytesIO(packed), max_bytes=2**26)
        ingest_testset(
            challenge=scene.challenge, user=scene.olga, archive_key="testset.tar", name="own", is_public=False,
            phase_slugs=["own"], now=timezone.now() - timedelta(minutes=1),
        )  # fmt: skip
        phase.refresh_from_db()
        _, token = enrol_node(name="mini", pool=phase.pool, slots=1, by=scene.stan, now=timezone.now())
        api = NodeApi(url="http://testserver", token=token, transport=send_through(Client()), sleep=lambda _: None)
        agent = Agent(api=api, options=AgentOptions(folder=tmp_path / "node", owner=owner), open_engine=DockerEngine)
        return Server(scene=scene, phase=phase, agent=agent)

    yield go
    with DockerEngine() as engine:
        assert engine.containers_of(owner) == []
        for image_id in AlgorithmImage.objects.exclude(image_id="").values_list("image_id", flat=True):
            engine.remove_image(image_id)
