"""Docker's document in Podman's words: nothing is dropped, and what is made is committed like the other options.

To write the documents anew after a deliberate change: `python tests/containers/test_podman_specification.py`.
"""

import json
from pathlib import Path

import pytest

from containers.engines.fixed_options import FIXED
from containers.engines.podman_specification import PLAIN, TRANSLATED, podman_specification, seccomp_text
from containers.errors import EngineRefused
from containers.sandbox.arguments import Mount

OPTIONS = Path(__file__).parent / "options"
NAMES = ["cpu_default", "fixed_command", "hostile_image", "one_gpu"]
CEILINGS = {"nofile": 20_000, "nproc": 32_768}


def translated(body: dict) -> dict:
    return podman_specification(name="assay-r-1-a1", body=body, seccomp_file="/filters/seccomp.json", ceilings=CEILINGS)


def readable(name: str) -> str:
    body = json.loads((OPTIONS / f"{name}.json").read_text())
    return json.dumps(translated(body), indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_specification_is_the_committed_one(name):
    assert readable(name) == (OPTIONS / "podman" / f"{name}.json").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_our_own_documents_has_a_translation(name):
    body = json.loads((OPTIONS / f"{name}.json").read_text())
    assert {*body, *body["HostConfig"]} <= {*FIXED, *PLAIN, *TRANSLATED}


@pytest.mark.parametrize(
    ("weakened", "word"),
    [
        ({"HostConfig": {"Privileged": True}}, "Privileged"),
        ({"HostConfig": {"CapDrop": []}}, "CapDrop"),
        ({"HostConfig": {"ReadonlyRootfs": False}}, "ReadonlyRootfs"),
        ({"HostConfig": {"NetworkMode": "bridge"}}, "NetworkMode"),
        ({"HostConfig": {"SecurityOpt": ["apparmor=unconfined"]}}, "apparmor"),
        ({"HostConfig": {"Binds": ["/:/host"]}}, "Binds"),
        ({"ExposedPorts": {"80/tcp": {}}}, "ExposedPorts"),
        ({"Tty": True}, "Tty"),
    ],
)
def test_an_option_without_a_translation_is_refused_and_never_dropped(weakened, word):
    assert translated({"Image": "sha256:a"})["image"] == "sha256:a"
    with pytest.raises(EngineRefused, match=word):
        translated({"Image": "sha256:a", **weakened})


def test_a_document_that_says_little_is_confined_all_the_same():
    made = translated({"Image": "sha256:a"})
    assert (made["cap_drop"], made["no_new_privileges"], made["read_only_filesystem"]) == (["ALL"], True, True)
    assert made["netns"] == {"nsmode": "none"}
    assert made["cgroupns"] == {"nsmode": "private"}
    assert made["image_volume_mode"] == "ignore"


def test_a_bare_name_takes_the_images_variable_away():
    made = translated({"Image": "sha256:a", "Env": ["HOME=/tmp", "MODE=a=b", "LD_PRELOAD"]})
    assert made["env"] == {"HOME": "/tmp", "MODE": "a=b"}
    assert made["unsetenv"] == ["LD_PRELOAD"]


def test_a_ulimit_of_ours_stands_over_the_hosts_ceiling():
    given = {"Image": "sha256:a", "HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}]}}
    assert translated(given)["r_limits"] == [
        {"type": "nofile", "soft": 10, "hard": 20},
        {"type": "nproc", "soft": 32_768, "hard": 32_768},
    ]


def test_tmpfs_keeps_the_images_files_out():
    (made,) = translated({"Image": "sha256:a", "HostConfig": {"Tmpfs": {"/tmp": "rw,size=4096"}}})["mounts"]
    assert made == {
        "type": "tmpfs",
        "source": "tmpfs",
        "destination": "/tmp",
        "options": ["rw", "size=4096", "notmpcopyup"],
    }


def test_a_volume_stays_empty_and_one_that_is_to_be_filled_is_refused():
    def volume(**options):
        mount = Mount(kind="volume", source="v", target="/output", **options).to_json()
        return {"Image": "sha256:a", "HostConfig": {"Mounts": [mount]}}

    assert translated(volume())["volumes"] == [{"Name": "v", "Dest": "/output", "Options": ["rw", "nocopy"]}]
    with pytest.raises(EngineRefused, match="legacy"):
        translated(volume(is_filled_by_image=True))


def test_the_filter_is_found_among_the_security_options():
    body = {"HostConfig": {"SecurityOpt": ["no-new-privileges", 'seccomp={"x":1}']}}
    assert seccomp_text(body) == '{"x":1}'
    assert seccomp_text({"HostConfig": {}}) == ""


if __name__ == "__main__":
    for name in NAMES:
        (OPTIONS / "podman" / f"{name}.json").write_text(readable(name))
