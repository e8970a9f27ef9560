"""The profile `image-user`: an image as current templates build it, through the intake and the sandbox on the real engine."""

import dataclasses
import json
import subprocess
import zipfile

import pytest

from containers.engines import ImageFacts
from containers.engines.fake import FakeEngine
from containers.engines.podman import PodmanEngine
from containers.intake import inspect_archive, load_archive
from containers.sandbox.arguments import user_of, writable_working_dir
from containers.sandbox.workspace import OutputStore
from containers.spec import RunSpec
from containers.verdicts import Verdict
from image_archives import build_image

MIB = 2**20
PROGRAM = """
import json, os, pathlib, subprocess

import from_home  # installed by `pip install --user`


def attempt(action):
    try:
        action()
    except OSError as error:
        return error.strerror
    return "done"


here = pathlib.Path.cwd()
os.makedirs("nnUNet_raw_data_base/imagesTs")
pathlib.Path("nnUNet_raw_data_base/note.txt").write_text("written")
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "ids": [os.getuid(), os.getgid(), sorted({*os.getgroups()} - {os.getgid()})],
    "home": os.environ["HOME"],
    "closed": pathlib.Path.home().joinpath("weights.bin").read_text(),
    "owners": [here.stat().st_uid, (here / "root_owned.txt").stat().st_uid, oct((here / "tool").stat().st_mode & 0o7777)],
    "tool": subprocess.run(["./tool"], capture_output=True, text=True).stdout,
    "capabilities": status["CapEff"].strip(),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "root": attempt(lambda: open("/etc/evil", "w")),
    "own_home": attempt(lambda: open(pathlib.Path.home() / "evil", "w")),
    "root_owned": attempt(lambda: open("root_owned.txt", "a")),
    "interfaces": sorted(os.listdir("/sys/class/net")),
}))
pathlib.Path("/output/result.txt").write_text("a mask")
"""
LINES = [
    "USER root",
    "RUN useradd --create-home --uid 1234 --user-group user && groupadd --gid 4321 extra && usermod --append --groups extra,adm user",
    "RUN mkdir -p /opt/app && chown user:user /opt/app && chmod 0750 /home/user",
    "COPY --chown=root:root root_owned.txt /opt/app/",
    "COPY --chown=user:user process.py tool from_home-1.0-py3-none-any.whl /opt/app/",
    "RUN chmod 0755 /opt/app/tool",
    "USER user",
    "WORKDIR /opt/app",
    "RUN python3 -m pip install --user --no-index --no-deps --break-system-packages ./from_home-1.0-py3-none-any.whl",
    "RUN echo weights > ~/weights.bin && chmod 600 ~/weights.bin",
    'ENTRYPOINT ["python3", "process.py"]',
]


def write_wheel(folder):
    """A pure wheel without a build tool: two files and their list."""
    with zipfile.ZipFile(folder / "from_home-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("from_home.py", "")
        wheel.writestr("from_home-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: from-home\nVersion: 1.0\n")
        wheel.writestr(
            "from_home-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("from_home-1.0.dist-info/RECORD", "")


@pytest.fixture(scope="module")
def template_image(base_image, docker_engine, tmp_path_factory):
    """What the intake says of the image, which the engine has afterwards."""
    if isinstance(docker_engine, PodmanEngine):
        pytest.skip("Podman refuses the profile `image-user`: test_podman_specification.py")
    folder = tmp_path_factory.mktemp("template")
    write_wheel(folder)
    (folder / "process.py").write_text(PROGRAM)
    (folder / "tool").write_text("#!/bin/sh\necho a tool beside the program\n")
    (folder / "root_owned.txt").write_text("")
    built = build_image(folder, [f"FROM {base_image}", *LINES])
    subprocess.run(["docker", "save", "-o", str(folder / "saved.tar"), built], check=True)
    report = inspect_archive(source=folder / "saved.tar", destination=folder / "checked.tar")
    load_archive(docker_engine, folder / "checked.tar", report.image_id)
    yield report
    for image in (report.image_id, built):
        docker_engine.remove_image(image)


@pytest.mark.docker
@pytest.mark.xdist_group("engine")
@pytest.mark.parametrize("store", [OutputStore.LOOP, OutputStore.KEEPER])
def test_an_image_of_todays_templates_runs_as_its_own_user(
    template_image, spec_of, execute, docker_engine, owner, store
):
    spec = spec_of(image_id=template_image.image_id, profile="image-user")
    result = execute(spec, docker_engine, store=store)
    assert result.verdict is Verdict.OK, result.log
    assert result.outputs[0].path.read_text() == "a mask"
    assert json.loads(result.log) == {
        "ids": [1234, 1234, []],
        "home": "/home/user",
        "closed": "weights\n",
        "owners": [1234, 0, "0o755"],
        "tool": "a tool beside the program\n",
        "capabilities": "0000000000000000",
        "no_new_privileges": "1",
        "seccomp": "2",
        "root": "Read-only file system",
        "own_home": "Read-only file system",
        "root_owned": "Permission denied",
        "interfaces": ["lo"],
    }
    assert docker_engine.volumes_of(owner) == []


@pytest.mark.docker
@pytest.mark.xdist_group("engine")
@pytest.mark.parametrize(
    ("profile", "complaint"), [("default", b"No module named 'from_home'"), ("legacy", b"from_home")]
)
def test_the_other_profiles_cannot_run_it(template_image, spec_of, execute, docker_engine, profile, complaint):
    result = execute(spec_of(image_id=template_image.image_id, profile=profile), docker_engine)
    assert result.verdict is Verdict.NONZERO_EXIT
    assert complaint in result.log


@pytest.mark.docker
@pytest.mark.xdist_group("engine")
def test_a_copy_of_the_working_directory_has_a_size(template_image, spec_of, execute, docker_engine, owner):
    spec = spec_of(
        image_id=template_image.image_id,
        profile="image-user",
        command=("python3", "-c", "open('large', 'wb').write(bytes(2**25))"),
    )
    spec = dataclasses.replace(spec, limits=dataclasses.replace(spec.limits, output_bytes=64 * MIB))
    result = execute(spec, docker_engine)
    assert result.verdict is Verdict.NONZERO_EXIT
    assert b"No space left on device" in result.log
    assert docker_engine.volumes_of(owner) == []


@pytest.mark.docker
@pytest.mark.xdist_group("engine")
def test_the_intake_says_which_profile_the_image_needs_and_why(template_image):
    assert (template_image.run_user, template_image.home) == ("1234:1234", "/home/user")
    assert template_image.needed_profile == "image-user"
    packages, folder, closed = template_image.needed_because
    assert packages == "packages of `pip install --user` lie in /home/user, the home of USER user (uid 1234)"
    assert folder.startswith("WORKDIR /opt/app belongs to USER user (uid 1234)")
    assert closed.endswith("can be read by USER user (uid 1234) only")
    assert template_image.warnings_as_image_user == ()
    assert set(template_image.needed_because) <= set(template_image.warnings_as_user)


def facts(user: str, *, home: str = "", working_dir: str = "/opt/app") -> ImageFacts:
    return ImageFacts(image_id="sha256:a", user=user, home=home, working_dir=working_dir)


@pytest.mark.parametrize("user", ["", "root", "0", "0:0", "65532:65532"])
def test_root_images_keep_the_rule_of_everybody(user):
    found = user_of("image-user", facts(user))
    assert (str(found), found.home) == ("65532:65532", "")
    spec = RunSpec(name="n", image_id="i", input_dir=None, outputs=(), profile="image-user")
    assert writable_working_dir(spec=spec, image=facts(user), user=found) == ""


@pytest.mark.parametrize("profile", ["default", "loopback"])
def test_other_profiles_do_not_ask_the_image(profile):
    assert str(user_of(profile, facts("1000:1000", home="/home/user"))) == "65532:65532"


@pytest.mark.parametrize("user", ["user", "1000", "1000:0", "0:1000", "1000:users", "-1:5", "1e3:1", "99999999999:1"])
def test_a_user_that_intake_has_not_resolved_is_refused(user, execute, spec_of):
    assert user_of("image-user", facts(user)) is None
    engine = FakeEngine(images={"sha256:a": facts(user)})
    result = execute(spec_of(image_id="sha256:a", profile="image-user"), engine)
    assert (result.verdict, result.reason) == (Verdict.IMAGE_INVALID, "user_unknown")


@pytest.mark.parametrize(
    ("working_dir", "expected"),
    [
        ("/opt/app", "/opt/app"),
        ("/opt/app/", "/opt/app"),
        ("/", ""),
        ("", ""),
        ("/tmp", ""),
        ("/input", ""),
        ("/output/", ""),
    ],
)
def test_a_working_directory_that_is_one_of_our_places_gets_no_copy(working_dir, expected):
    image = facts("1000:1000", home="/home/user", working_dir=working_dir)
    spec = RunSpec(name="n", image_id="i", input_dir=None, outputs=(), profile="image-user")
    user = user_of("image-user", image)
    assert writable_working_dir(spec=spec, image=image, user=user) == expected
