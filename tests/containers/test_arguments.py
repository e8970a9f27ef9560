"""The sandbox as committed documents: a change that weakens it has to change a file next to this one, and a reviewer sees it.

To write them anew after a deliberate change: `python tests/containers/test_arguments.py`.
"""

import json
import socket
from pathlib import Path

import pytest

from containers.engines import ImageFacts
from containers.sandbox.arguments import (
    Mount,
    RunUser,
    capacity_bytes,
    container_body,
    environment,
    tmpfs_mounts,
    ulimits,
    user_of,
)
from containers.sandbox.seccomp import denied_calls, seccomp_profile
from containers.spec import Limits, RunSpec

OPTIONS = Path(__file__).parent / "options"
PLAIN = ImageFacts(image_id="sha256:" + "a" * 64)
HOSTILE = ImageFacts(
    image_id="sha256:" + "b" * 64,
    volumes=("/data", "/output", "/tmp"),
    labels=("assay.owner", "traefik.enable"),
    variables=("LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "NVIDIA_REQUIRE_CUDA", "NVIDIA_VISIBLE_DEVICES", "PATH"),
)
EVERYBODY = RunUser(uid=65532, gid=65532)
OWN_USER = ImageFacts(image_id="sha256:" + "c" * 64, user="999:998", home="/home/user", variables=("HOME", "PATH"))
SPECS = {
    "cpu_default": (PLAIN, {}),
    "hostile_image": (HOSTILE, {"environment": {"LD_PRELOAD": "/x.so", "MODE": "test"}}),
    "fixed_command": (PLAIN, {"command": ("sh", "predict.sh"), "working_dir": "/workspace"}),
    "flare_legacy": (
        PLAIN,
        {
            "profile": "legacy",
            "command": ("/bin/bash", "-c", "sh predict.sh"),
            "input_mount": "/workspace/inputs",
            "output_mount": "/workspace/outputs",
        },
    ),
    "image_user": (OWN_USER, {"profile": "image-user"}),
    "one_gpu": (PLAIN, {"gpu_uuids": ("GPU-11111111-2222-3333-4444-555555555555",), "limits": Limits(gpus=1)}),
}


def document(name: str) -> dict:
    image, changes = SPECS[name]
    spec = RunSpec(name="assay-r-1-a1", image_id=image.image_id, input_dir=Path("/n"), outputs=(), **changes)
    return container_body(
        spec=spec,
        image=image,
        mounts=(
            Mount(kind="bind", source="/scratch/runs/k/input", target=spec.input_mount, is_read_only=True),
            Mount(kind="bind", source="/scratch/runs/k/output", target=spec.output_mount),
        ),
        labels={"assay.owner": "installation/node"},
        cpu_ids=(3,),
        user=user_of(spec.profile, image),
        cgroup_parent="/assay-k",
    )


def readable(body: dict) -> str:
    """The seccomp profile has a committed file of its own."""
    text = json.dumps(body, indent=2, sort_keys=True).replace(json.dumps(seccomp_profile())[1:-1], "{seccomp.json}")
    return text + "\n"


@pytest.mark.parametrize("name", SPECS)
def test_the_options_are_the_committed_ones(name):
    assert readable(document(name)) == (OPTIONS / f"{name}.json").read_text()


def test_the_system_call_filter_is_the_committed_one():
    assert json.dumps(json.loads(seccomp_profile()), indent=1) + "\n" == (OPTIONS / "seccomp.json").read_text()


def test_every_denied_call_is_one_the_kernel_has_or_had():
    known = set((Path(__file__).parents[2] / "containers" / "sandbox" / "syscalls.txt").read_text().split())
    never_in_headers = {"umount", "quotactl_fd"}  # 32-bit name of umount2. New in 5.14
    assert denied_calls() - known <= never_in_headers


def test_sockets_are_unix_only_unless_the_phase_needs_loopback():
    """Everything else is the same: the profile `loopback` opens AF_INET, AF_INET6 and the list of interfaces, and nothing more."""
    plain, loopback = (json.loads(seccomp_profile(has_loopback=has))["syscalls"] for has in (False, True))
    assert [rule for rule in plain if rule["names"] != ["socket"]] == [r for r in loopback if r["names"] != ["socket"]]

    def opened(rules):
        rules = [rule for rule in rules if rule["names"] == ["socket"] and rule["action"] == "SCMP_ACT_ALLOW"]
        return [[(argument["index"], argument["value"]) for argument in rule["args"]] for rule in rules]

    assert opened(plain) == [[(0, socket.AF_UNIX)]]
    assert opened(loopback) == [
        [(0, socket.AF_UNIX)], [(0, socket.AF_INET)], [(0, socket.AF_INET6)], [(0, socket.AF_NETLINK), (2, 0)],
    ]  # fmt: skip


def test_the_phase_chooses_loopback_by_its_profile():
    for profile, allows in (("default", False), ("legacy", False), ("image-user", False), ("loopback", True)):
        spec = RunSpec(name="n", image_id="i", input_dir=Path("/n"), outputs=(), profile=profile)
        body = container_body(spec=spec, image=HOSTILE, mounts=(), labels={}, cpu_ids=(0,), user=EVERYBODY)
        assert f"seccomp={seccomp_profile(has_loopback=allows)}" in body["HostConfig"]["SecurityOpt"], profile


@pytest.mark.parametrize("call", ["read", "futex", "rseq", "membarrier", "sched_setaffinity", "statx", "getrandom"])
def test_what_every_program_needs_is_allowed(call):
    assert call in json.loads(seccomp_profile())["syscalls"][0]["names"]


def test_the_image_cannot_preload_anything_into_the_engines_hooks():
    spec = RunSpec(name="n", image_id="i", input_dir=Path("/n"), outputs=(), environment={"LD_PRELOAD": "/x.so"})
    variables = environment(spec=spec, image=HOSTILE, user=EVERYBODY)
    assert "LD_PRELOAD" in variables  # a bare name takes the image's value away
    assert not any(variable.startswith(("LD_PRELOAD=", "LD_AUDIT=")) for variable in variables)
    assert "LD_LIBRARY_PATH" not in variables  # stays as the image set it: inside the container


def test_a_cpu_job_sees_no_gpu_whatever_the_image_asks_for():
    spec = RunSpec(name="n", image_id="i", input_dir=Path("/n"), outputs=())
    variables = environment(spec=spec, image=HOSTILE, user=EVERYBODY)
    assert "NVIDIA_VISIBLE_DEVICES=void" in variables
    assert "NVIDIA_REQUIRE_CUDA" in variables


def test_a_declared_volume_is_covered_unless_something_of_ours_is_there():
    mounts = (Mount(kind="bind", source="/s", target="/output"),)
    assert list(tmpfs_mounts(limits=Limits(), image=HOSTILE, mounts=mounts)) == ["/tmp", "/data"]


def test_no_single_file_may_claim_more_than_the_largest_place_holds():
    limits = Limits(output_bytes=64 * 2**20, tmp_bytes=2**20, shm_bytes=2**20, working_dir_bytes=2**20)
    largest = {entry["Name"]: entry["Hard"] for entry in ulimits(limits, open_files=1024)}
    assert largest == {"nofile": 1024, "core": 0, "fsize": 64 * 2**20 + 4 * 2**20}


def test_a_store_is_a_little_larger_than_its_limit():
    assert capacity_bytes(0) == 4 * 2**20
    assert capacity_bytes(320 * 2**20) == 330 * 2**20


if __name__ == "__main__":
    for each in SPECS:
        (OPTIONS / f"{each}.json").write_text(readable(document(each)))
    (OPTIONS / "seccomp.json").write_text(json.dumps(json.loads(seccomp_profile()), indent=1) + "\n")
