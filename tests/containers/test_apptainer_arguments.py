"""Docker's document as a plan for Apptainer: nothing is dropped, and what is made is committed like the other options.

To write the plans anew after a deliberate change: `python tests/containers/test_apptainer_arguments.py`.
"""

import json
import subprocess
from pathlib import Path

import pytest

from containers.engines.apptainer import gpu_devices
from containers.engines.apptainer_arguments import (
    ONLY,
    TRANSLATED,
    Ground,
    environment_script,
    filter_text,
    launch_plan,
)
from containers.errors import EngineRefused
from containers.sandbox.arguments import HOST_FACTS, MASKED_BY_RUNTIMES, Mount
from containers.sandbox.seccomp import seccomp_profile

OPTIONS = Path(__file__).parent / "options"
NAMES = ["cpu_default", "fixed_command", "hostile_image", "one_gpu"]
FOLDERS = frozenset(
    {"/proc/acpi", "/proc/asound", "/proc/scsi", "/proc/pressure", "/sys/firmware", "/sys/devices/virtual/dmi"}
)


def ground(**changes) -> Ground:
    fields = {
        "folder": Path("/store/containers/c"),
        "image": Path("/store/images/aa/rootfs"),
        "image_environment": {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": "/opt/lib"},
        "entrypoint": ("python3", "/predict.py"),
        "command": ("--fast",),
        "working_dir": "/opt/app",
        "masked": (*MASKED_BY_RUNTIMES, *HOST_FACTS),
        "masked_folders": FOLDERS,
        "gpu_devices": {f"GPU-{letter}": f"/dev/nvidia{number}" for number, letter in enumerate("abc")},
    }
    return Ground(**(fields | changes))


def planned(body: dict, **changes) -> dict:
    return launch_plan(name="assay-r-1-a1", body=body, ground=ground(**changes), mark="the mark")


def document(name: str) -> dict:
    body = json.loads((OPTIONS / f"{name}.json").read_text())
    requests = body["HostConfig"].get("DeviceRequests", [])
    for request in requests:
        request["DeviceIDs"] = ["GPU-b"]
    options = [option.replace("{seccomp.json}", seccomp_profile()) for option in body["HostConfig"]["SecurityOpt"]]
    body["HostConfig"]["SecurityOpt"] = options
    return body


def readable(name: str) -> str:
    return json.dumps(planned(document(name)), indent=2, sort_keys=True) + "\n"


def mounts(plan: dict) -> list[str]:
    words = plan["arguments"]
    return [words[at + 1] for at, word in enumerate(words) if word == "--mount"]


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_the_committed_one(name):
    assert readable(name) == (OPTIONS / "apptainer" / f"{name}.json").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_our_own_documents_has_a_translation(name):
    body = document(name)
    assert {*body, *body["HostConfig"]} <= {*ONLY, *TRANSLATED}


@pytest.mark.parametrize(
    ("weakened", "word"),
    [
        ({"HostConfig": {"Privileged": True}}, "Privileged"),
        ({"HostConfig": {"CapDrop": []}}, "CapDrop"),
        ({"HostConfig": {"ReadonlyRootfs": False}}, "ReadonlyRootfs"),
        ({"HostConfig": {"NetworkMode": "bridge"}}, "NetworkMode"),
        ({"HostConfig": {"SecurityOpt": ["apparmor=unconfined"]}}, "apparmor"),
        ({"HostConfig": {"Binds": ["/:/host"]}}, "Binds"),
        ({"HostConfig": {"Tmpfs": {"/tmp": "rw,mode=1777"}}}, "size"),
        ({"HostConfig": {"Tmpfs": {"/tmp": "rw,size=1,suid"}}}, "suid"),
        ({"HostConfig": {"Mounts": [Mount(kind="bind", source="/a\nb", target="/a").to_json()]}}, "control"),
        ({"HostConfig": {"Mounts": [Mount(kind="volume", source="v", target="/a").to_json()]}}, "no volume v"),
        ({"HostConfig": {"DeviceRequests": [{"DeviceIDs": ["GPU-other"]}]}}, "GPU-other"),
        ({"ExposedPorts": {"80/tcp": {}}}, "ExposedPorts"),
        ({"Tty": True}, "Tty"),
        ({"Entrypoint": [], "Cmd": []}, "no command"),
    ],
)
def test_an_option_without_a_translation_is_refused_and_never_dropped(weakened, word):
    assert planned({"Image": "sha256:a"})["arguments"]
    with pytest.raises(EngineRefused, match=word):
        planned({"Image": "sha256:a", **weakened})


def test_a_document_that_says_little_is_confined_all_the_same():
    words = planned({"Image": "sha256:a", "User": "65532:65532"})["arguments"]
    for word in ("--containall", "--no-privs", "--net", "--no-home", "--no-eval"):
        assert word in words
    assert words[words.index("--network") + 1] == "none"
    assert words[words.index("--security") + 1] == "uid:65532,gid:65532"
    assert not {"--writable", "--writable-tmpfs", "--nv", "--keep-privs", "--allow-setuid"} & set(words)


def test_without_root_a_user_namespace_stands_in_for_the_other_user():
    words = planned({"Image": "sha256:a", "User": "65532:65532"}, is_root=False, has_cgroup=False)
    assert "--userns" in words["arguments"]
    assert "--security" not in words["arguments"]
    assert words["cgroup"] is None


def test_program_and_arguments_come_from_the_image_unless_the_document_says_otherwise():
    image = "/store/images/aa/rootfs"
    by_image, by_document = (
        planned({"Image": "a"}),
        planned({"Image": "a", "Entrypoint": ["sh", "-c", "x; y"], "Cmd": []}),
    )
    assert by_image["arguments"][by_image["arguments"].index(image) + 1 :] == ["python3", "/predict.py", "--fast"]
    assert by_document["arguments"][by_document["arguments"].index(image) + 1 :] == ["sh", "-c", "x; y"]
    assert by_image["arguments"][by_image["arguments"].index("--pwd") + 1] == "/opt/app"


def test_mounts_are_made_from_the_outside_in_and_survive_commas():
    places = [Mount(kind="bind", source=f"/s/{n}", target=target) for n, target in enumerate(("/a/b/c", "/a", "/x,y"))]
    made = mounts(planned({"Image": "a", "HostConfig": {"Mounts": [place.to_json() for place in places]}}))
    ours = [text for text in made if "/s/" in text]
    assert ours == [
        "type=bind,source=/s/1,destination=/a",
        'type=bind,source=/s/2,"destination=/x,y"',
        "type=bind,source=/s/0,destination=/a/b/c",
    ]


def test_a_volume_that_begins_with_the_images_files_is_copied_by_the_launcher():
    volume = Mount(kind="volume", source="c-work", target="/opt/app", is_filled_by_image=True)
    plan = planned(
        {"Image": "a", "HostConfig": {"Mounts": [volume.to_json()]}}, volumes={"c-work": Path("/scratch/work")}
    )
    assert plan["copies"] == [{"root": "/store/images/aa/rootfs", "path": "/opt/app", "to": "/scratch/work"}]
    assert "type=bind,source=/scratch/work,destination=/opt/app" in mounts(plan)


def test_only_granted_gpus_are_named():
    plan = planned({"Image": "a", "HostConfig": {"DeviceRequests": [{"DeviceIDs": ["GPU-c"]}]}})
    assert "--nv" in plan["arguments"]
    cards = [path for path in plan["devices"] if path[-1].isdigit()]
    assert cards == ["/dev/nvidia2"]


def test_what_the_driver_says_of_its_gpus_is_read(tmp_path):
    for minor, uuid in enumerate(("GPU-one", "GPU-two")):
        folder = tmp_path / f"0000:0{minor}:00.0"
        folder.mkdir()
        (folder / "information").write_text(f"Model: \t\t NVIDIA H200\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n")
    assert gpu_devices(tmp_path) == {"GPU-one": "/dev/nvidia0", "GPU-two": "/dev/nvidia1"}
    assert gpu_devices(tmp_path / "none") == {}


def test_the_filter_answers_enosys_to_clone3_and_refuses_by_default_what_docker_refuses_by_rule():
    profile = json.loads(filter_text({"SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_profile()}"]}))
    actions = {name: rule["action"] for rule in profile["syscalls"] for name in rule["names"] if not rule.get("args")}
    assert actions["clone3"] == "SCMP_ACT_TRACE"
    assert "ptrace" not in actions, "a tracer could let calls through"
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ALLOW", "SCMP_ACT_TRACE"}
    sockets = [rule["args"][0]["value"] for rule in profile["syscalls"] if rule["names"] == ["socket"]]
    assert sockets == [1], "AF_UNIX alone"


@pytest.mark.parametrize("value", ["$(id)", "`id`", "a'b", 'a"b', "a\\b", "a\nb", "${HOME}", "", "ü"])
def test_the_environment_says_a_value_as_it_is(value, tmp_path):
    script = environment_script({"Env": [f"VALUE={value}"]}, ground=ground(), mark="the mark")
    (tmp_path / "env.sh").write_text(script)
    program = '. "$0"/env.sh; printf "%s|%s" "$VALUE" "$PATH"'
    done = subprocess.run(["/bin/sh", "-c", program, str(tmp_path)], capture_output=True, check=True)
    assert done.stdout.decode() == f"{value}|/usr/bin:/bin"
    assert done.stderr == b"the mark\n"


def test_a_bare_name_removes_the_images_variable_and_gpus_add_the_drivers_libraries():
    script = environment_script({"Env": ["LD_LIBRARY_PATH", "A.B=x"]}, ground=ground(), mark="m")
    assert "unset LD_LIBRARY_PATH" in script
    assert "A.B" not in script
    gpu = {"HostConfig": {"DeviceRequests": [{"DeviceIDs": ["GPU-a"]}]}}
    assert "LD_LIBRARY_PATH=/opt/lib:/.singularity.d/libs" in environment_script(gpu, ground=ground(), mark="m")


if __name__ == "__main__":
    (OPTIONS / "apptainer").mkdir(exist_ok=True)
    for name in NAMES:
        (OPTIONS / "apptainer" / f"{name}.json").write_text(readable(name))
