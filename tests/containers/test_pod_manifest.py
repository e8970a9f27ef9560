"""Docker's document as a Pod: nothing is dropped in silence, and what is made is committed like the other options.

To write the Pods anew after a deliberate change: `python tests/containers/test_pod_manifest.py`.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from containers.engines import STORES_LABEL, WALL_LABEL
from containers.engines.pod_manifest import (
    LEFT_TO_THE_CLUSTER,
    ONLY,
    TRANSLATED,
    ClusterOptions,
    Place,
    pod_manifest,
    profile_name,
)
from containers.errors import EngineRefused
from containers.sandbox.arguments import Mount
from containers.sandbox.seccomp import seccomp_profile
from kubernetes_schema import problems

FOLDER = Path(__file__).parent / "options"
NAMES = ["cpu_default", "fixed_command", "hostile_image", "one_gpu"]
OPTIONS = ClusterOptions(
    registry="https://registry.example.org/assay/node-1",
    claim="assay",
    courier_image="registry.example.org/assay/server@sha256:c0",
)
PLACE = Place(
    image="registry.example.org/assay/node-1@sha256:ab",
    claim_root=Path("/scratch"),
    exchange=Path("/scratch/engine/containers/case-1"),
)
STORES = {WALL_LABEL: "60.0", STORES_LABEL: "8650752 80 0"}


def document(name: str) -> dict:
    """The committed document, with GPUs by number and limits of the stores, as a batch engine gets it."""
    body = json.loads((FOLDER / f"{name}.json").read_text())
    host = body["HostConfig"]
    host.pop("CgroupParent", None)  # only where the engine runs on this machine
    for request in host.get("DeviceRequests", []):
        request.pop("DeviceIDs")
        request["Count"] = 1
    host["SecurityOpt"] = [option.replace("{seccomp.json}", seccomp_profile()) for option in host["SecurityOpt"]]
    return {**body, "Labels": {**body.get("Labels", {}), **STORES}}


def made(body: dict, *, options: ClusterOptions = OPTIONS) -> dict:
    return pod_manifest(name="case-1", body=body, place=PLACE, options=options)


def readable(name: str) -> str:
    return json.dumps(made(document(name)), indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_pod_is_the_committed_one(name):
    assert readable(name) == (FOLDER / "kubernetes" / f"{name}.json").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_pod_is_one_of_kubernetes(name):
    every = replace(
        OPTIONS, runtime_class="gvisor", service_account="a", priority_class="low", image_pull_secret="s", user_namespaces=True,
        strict_groups=True, node_selector={"gpu": "a100"}, labels={"kueue.x-k8s.io/queue-name": "q"}, tolerations=("nvidia.com/gpu",),
    )  # fmt: skip
    assert problems(made(document(name), options=every)) == []
    assert problems({**made(document(name)), "spec": {"containers": [], "hostNetworks": True}}) != []


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_our_own_documents_has_a_translation_or_a_word_of_its_own(name):
    body = json.loads((FOLDER / f"{name}.json").read_text())
    assert {*body, *body["HostConfig"]} <= {*ONLY, *TRANSLATED, "CgroupParent"}
    assert set(LEFT_TO_THE_CLUSTER) <= TRANSLATED


@pytest.mark.parametrize(
    ("weakened", "word"),
    [
        ({"HostConfig": {"Privileged": True}}, "Privileged"),
        ({"HostConfig": {"CapDrop": []}}, "CapDrop"),
        ({"HostConfig": {"ReadonlyRootfs": False}}, "ReadonlyRootfs"),
        ({"HostConfig": {"NetworkMode": "bridge"}}, "NetworkMode"),
        ({"HostConfig": {"SecurityOpt": ["apparmor=unconfined"]}}, "apparmor"),
        ({"HostConfig": {"Binds": ["/:/host"]}}, "Binds"),
        ({"HostConfig": {"CgroupParent": "/x"}}, "CgroupParent"),
        ({"HostConfig": {"DeviceRequests": [{"DeviceIDs": ["GPU-1"]}]}}, "by number"),
        ({"HostConfig": {"Tmpfs": {"/tmp": "rw"}}}, "tmpfs"),
        (
            {
                "HostConfig": {
                    "Mounts": [Mount(kind="bind", source="/etc", target="/input", is_read_only=True).to_json()]
                }
            },
            "claim",
        ),
        (
            {
                "HostConfig": {
                    "Mounts": [Mount(kind="bind", source="/scratch/../etc", target="/x", is_read_only=True).to_json()]
                }
            },
            "claim",
        ),
        ({"HostConfig": {"Mounts": [Mount(kind="volume", source="w", target="/w").to_json()]}}, "legacy"),
        ({"Labels": {"org.example": "x"}}, "org.example"),
        ({"Tty": True}, "Tty"),
    ],
)
def test_an_option_without_a_translation_is_refused_and_never_dropped(weakened, word):
    assert made({"Image": "sha256:a"})["spec"]["containers"][0]["image"] == PLACE.image
    with pytest.raises(EngineRefused, match=word):
        made({"Image": "sha256:a", **weakened})


@pytest.mark.parametrize("name", ["Case_1", "-a", "a" * 64, ""])
def test_a_name_that_kubernetes_refuses_is_refused_here(name):
    with pytest.raises(EngineRefused, match="small letters"):
        pod_manifest(name=name, body={"Image": "sha256:a"}, place=PLACE, options=OPTIONS)


def test_a_document_that_says_little_is_confined_all_the_same():
    spec = made({"Image": "sha256:a"})["spec"]
    security = spec["containers"][0]["securityContext"]
    assert (security["capabilities"], security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (
        {"drop": ["ALL"]},
        False,
        True,
    )
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert len(spec["containers"]) == 1


def test_gpus_are_not_hidden_from_who_asked_for_them():
    """The device plug-in sets the same variable, and a Pod's own word would win over it."""
    with_gpu, without = (made(document(name))["spec"]["containers"][0] for name in ("one_gpu", "cpu_default"))
    assert "NVIDIA_VISIBLE_DEVICES" not in {entry["name"] for entry in with_gpu["env"]}
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in without["env"]
    assert with_gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_limits_are_requests_so_that_no_pod_is_evicted_first():
    for container in made(document("cpu_default"))["spec"]["containers"]:
        assert container["resources"]["limits"] == container["resources"]["requests"]


def test_what_a_filter_is_called_depends_on_what_is_in_it():
    profile = made(document("cpu_default"))["spec"]["securityContext"]["seccompProfile"]
    assert profile == {"type": "Localhost", "localhostProfile": f"assay/{profile_name(seccomp_profile())}"}
    assert profile_name(seccomp_profile()) != profile_name(seccomp_profile(has_loopback=True))


if __name__ == "__main__":
    for each in NAMES:
        (FOLDER / "kubernetes").mkdir(exist_ok=True)
        (FOLDER / "kubernetes" / f"{each}.json").write_text(readable(each))
