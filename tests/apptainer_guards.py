"""Guards taken away under Apptainer: what the strict translation never says, said by tests only."""

import os
import signal

import pytest

from containers.engines import apptainer
from containers.engines.apptainer_arguments import ONLY

WEAK_TMPFS = "rw,exec,size=268435456,mode=1777"


def strong(body: dict) -> dict:
    """The document as the strict translation takes it: a weakened option is as it always is, or is left out."""
    host = {key: ONLY.get(key, value) for key, value in body.get("HostConfig", {}).items() if key != "Binds"}
    host["SecurityOpt"] = [option for option in host.get("SecurityOpt", []) if option != "seccomp=unconfined"]
    host["Tmpfs"] = {place: text if "size=" in text else WEAK_TMPFS for place, text in host.get("Tmpfs", {}).items()}
    return {key: ONLY.get(key, value) for key, value in body.items()} | {"HostConfig": host}


def weaken(plan: dict, body: dict) -> dict:
    """What is weak in the document, in Apptainer's words."""
    host, arguments = body["HostConfig"], plan["arguments"]
    if not host.get("ReadonlyRootfs", True):
        arguments.insert(2, "--writable-tmpfs")
    if not host.get("CapDrop", True):
        arguments.remove("--no-privs")
        arguments[2:2] = ["--add-caps", "CAP_MKNOD"]
    if host.get("NetworkMode") == "bridge":
        position = arguments.index("--net")
        del arguments[position : position + 3]
    if host.get("LogConfig", {}).get("Type") == "json-file":
        plan["log_bytes"] = 2**32
    if "no-new-privileges" not in host.get("SecurityOpt", []):
        arguments.remove("--no-privs")
    if "seccomp=unconfined" in host.get("SecurityOpt", []):
        position = arguments.index("--security") + 1
        arguments[position] = ",".join(
            part for part in arguments[position].split(",") if not part.startswith("seccomp:")
        )
    for bind in host.get("Binds", ()):
        source, target = bind.split(":")
        arguments[2:2] = ["--mount", f"type=bind,source={source},destination={target}"]
    return plan


def tolerate_weak_documents(patch: pytest.MonkeyPatch) -> None:
    """Let weakened documents through to the launcher."""
    plan, text, script = apptainer.launch_plan, apptainer.filter_text, apptainer.environment_script

    def weak_plan(*, name, body, ground, mark):
        return weaken(plan(name=name, body=strong(body), ground=ground, mark=mark), body)

    patch.setattr(apptainer, "launch_plan", weak_plan)
    patch.setattr(apptainer, "filter_text", lambda host: text(strong({"HostConfig": host})["HostConfig"]))
    patch.setattr(
        apptainer, "environment_script", lambda body, *, ground, mark: script(strong(body), ground=ground, mark=mark)
    )


def ask_to_end(engine: apptainer.ApptainerEngine, container_id: str) -> None:
    """SIGTERM to the program itself in place of SIGKILL to everybody."""
    cgroup = engine._cgroup(engine.folder / "containers" / container_id)
    for process in cgroup.processes():
        os.kill(process, signal.SIGTERM)
