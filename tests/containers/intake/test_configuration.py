"""The configuration policy: published base images pass, everything that could reach past the container does not."""

import json

import pytest

from containers.intake import ImageInvalid, IntakeLimits, Reason
from containers.intake.config import RUN_USER, VettedConfig, vet_config
from image_archives import LAYER, config_of

OWN_CONFIG = "intake writes its own configuration from a short list"

NVIDIA_CUDA = {  # as published for nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04
    "Hostname": "",
    "Env": [
        "PATH=/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "NVARCH=x86_64",
        "NVIDIA_REQUIRE_CUDA=cuda>=11.8 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470,driver<471",
        "NV_CUDA_CUDART_VERSION=11.8.89-1",
        "CUDA_VERSION=11.8.0",
        "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "NV_CUDNN_VERSION=8.9.6.50",
        "NVIDIA_PRODUCT_NAME=CUDA",
    ],
    "Entrypoint": ["/opt/nvidia/nvidia_entrypoint.sh"],
    "Cmd": None,
    "Labels": {"maintainer": "NVIDIA CORPORATION <cudatools@nvidia.com>", "com.nvidia.cudnn.version": "8.9.6.50"},
    "WorkingDir": "",
    "Volumes": None,
    "OnBuild": None,
}
PYTORCH = {  # as published for pytorch/pytorch:2.1.0-cuda11.8-cudnn8-runtime
    "Env": [
        "PATH=/opt/conda/bin:/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
        "PYTORCH_VERSION=2.1.0",
    ],
    "Cmd": ["/bin/bash"],
    "WorkingDir": "/workspace",
    "Labels": {"org.opencontainers.image.ref.name": "ubuntu", "org.opencontainers.image.version": "20.04"},
}


def vet(settings=None, *, needs_command=True, limits=None, **changes) -> VettedConfig:
    raw = json.dumps(config_of(LAYER, settings=settings, **changes)).encode()
    return vet_config(raw=raw, architecture="amd64", limits=limits or IntakeLimits(), needs_command=needs_command)


def ours(config: VettedConfig) -> dict:
    return json.loads(config.document)["config"]


def refused(settings=None, **options) -> tuple[Reason, str]:
    with pytest.raises(ImageInvalid) as caught:
        vet(settings, **options)
    return caught.value.reason, caught.value.message


def test_the_published_cuda_image_is_accepted():
    config = vet(NVIDIA_CUDA)
    assert config.entrypoint == ("/opt/nvidia/nvidia_entrypoint.sh",)
    assert config.versions == {"cuda": "11.8.0"}
    environment = ours(config)["Env"]
    assert "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64" in environment
    assert "NV_CUDNN_VERSION=8.9.6.50" in environment
    assert not [line for line in environment if line.startswith("NVIDIA_")]


def test_the_published_pytorch_image_is_accepted():
    config = vet(PYTORCH)
    assert (config.command, config.working_dir, config.versions) == (("/bin/bash",), "/workspace", {"torch": "2.1.0"})
    assert ours(config)["Env"][0].startswith("PATH=/opt/conda/bin:")


@pytest.mark.catalogue(
    15,
    attack="LD_PRELOAD, LD_AUDIT, LD_LIBRARY_PATH=/proc/self/cwd for the GPU toolkit's hook",
    verdict="neutralised",
    guard="ENV LD_* and NVIDIA_* never reach the engine; only plain folders stay in LD_LIBRARY_PATH",
)
def test_variables_that_hooks_outside_the_container_would_read_are_removed():
    lines = [
        "LD_PRELOAD=/proc/self/cwd/evil.so",
        "LD_AUDIT=/evil.so",
        "LD_LIBRARY_PATH=/proc/self/cwd:relative::/usr/lib/ok:/dev/shm:../up:/a/../proc://proc/1",
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_MIG_CONFIG_DEVICES=all",
        "OMP_NUM_THREADS=1",
    ]
    config = vet({"Env": lines})
    assert ours(config)["Env"] == ["LD_LIBRARY_PATH=/usr/lib/ok", "OMP_NUM_THREADS=1"]
    assert len(config.neutralised) == 5


@pytest.mark.catalogue(25, attack="ONBUILD instructions", verdict="neutralised", guard=OWN_CONFIG)
def test_our_configuration_has_nothing_but_what_a_run_needs():
    settings = {
        "User": "root",
        "Volumes": {"/scratch": {}, "/output": {}},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9},
        "StopSignal": "SIGWINCH",
        "OnBuild": ["RUN evil"],
        "Labels": {"assay.owner": "someone", "traefik.enable": "true"},
        "ExposedPorts": {"80/tcp": {}},
        "Shell": ["/evil"],
        "MacAddress": "00:00:00:00:00:00",
        "ArgsEscaped": True,
    }
    config = vet(settings)
    assert ours(config) == {
        "User": RUN_USER,
        "Env": ["PATH=/usr/bin:/bin"],
        "Entrypoint": None,
        "Cmd": ["/app/run.sh"],
        "WorkingDir": "/",
    }
    assert set(json.loads(config.document)) == {"architecture", "os", "config", "rootfs"}
    assert config.user == "root"
    assert len(config.neutralised) == 6
    assert config.neutralised[0].startswith("VOLUME /scratch, /output: these folders are read-only")


@pytest.mark.catalogue(
    13,
    attack="WORKDIR /proc/self/fd/8",
    verdict="refused: unsafe_configuration",
    guard="WORKDIR is absolute, outside /proc, /sys and /dev, and no link",
)
@pytest.mark.parametrize(
    "working_dir",
    ["/proc/self/fd/8", "/proc", "//proc/self/fd/8", "/a/../proc", "/sys/fs", "/dev/shm", "relative", "./x", 7],
)
def test_a_working_directory_of_the_system_is_refused(working_dir):
    reason, message = refused({"WorkingDir": working_dir})
    assert reason is Reason.UNSAFE_CONFIGURATION
    assert "WORKDIR" in message


@pytest.mark.parametrize(
    ("given", "kept"), [("", "/"), ("/opt/app/", "/opt/app"), ("/processing", "/processing"), ("/a..b", "/a..b")]
)
def test_an_honest_working_directory_is_kept(given, kept):
    assert vet({"WorkingDir": given}).working_dir == kept


@pytest.mark.catalogue(
    14,
    attack="6 MB of ENV",
    verdict="refused: configuration_too_large",
    guard="ENV, ENTRYPOINT and the whole configuration have a size limit",
)
def test_more_environment_than_a_program_can_be_started_with_is_refused():
    assert refused({"Env": ["A=" + "x" * 6_000_000]})[0] is Reason.CONFIGURATION_TOO_LARGE
    assert refused({"Env": [f"A{index}=x" for index in range(257)]})[0] is Reason.CONFIGURATION_TOO_LARGE
    assert refused({"Entrypoint": ["x" * 70_000]})[0] is Reason.CONFIGURATION_TOO_LARGE
    assert vet({"Env": [f"A{index}=x" for index in range(256)]})


@pytest.mark.catalogue(
    22,
    attack="no ENTRYPOINT or CMD, another architecture, a Windows image",
    verdict="refused: no_command, wrong_platform",
    guard="the configuration is read before any layer",
)
def test_an_image_that_could_never_run_here_is_refused_with_what_to_do():
    reason, message = refused({"Cmd": [], "Entrypoint": None})
    assert reason is Reason.NO_COMMAND
    assert "Add one to the Dockerfile" in message
    reason, message = refused(architecture="arm64")
    assert reason is Reason.WRONG_PLATFORM
    assert "built for linux/arm64; expected linux/amd64. Build it with --platform linux/amd64" in message
    assert refused(os="windows")[0] is Reason.WRONG_PLATFORM


@pytest.mark.parametrize(
    "wrong",
    [
        {"Env": "PATH=/bin"},
        {"Env": ["NOEQUALS"]},
        {"Env": ["=x"]},
        {"Env": ["A=\0"]},
        {"Env": [1]},
        {"Cmd": {"a": 1}},
        {"Cmd": [1]},
        {"Entrypoint": ["a\0b"]},
    ],
)
def test_settings_of_a_wrong_type_are_refused(wrong):
    assert refused(wrong)[0] is Reason.MALFORMED


@pytest.mark.parametrize(
    "rootfs",
    [
        None,
        {},
        {"diff_ids": "x"},
        {"diff_ids": ["md5:x"]},
        {"diff_ids": ["sha256:../../x"]},
        {"diff_ids": ["sha256:" + "G" * 64]},
    ],
)
def test_layers_must_be_named_by_their_sha256(rootfs):
    assert refused(rootfs=rootfs)[0] is Reason.MALFORMED


def test_a_command_written_as_one_text_is_one_word():
    assert vet({"Cmd": "/app/run.sh"}).command == ("/app/run.sh",)


def test_the_identity_follows_the_content_and_nothing_else():
    plain = vet()
    assert plain.image_id == vet({"Labels": {"a": "b"}}).image_id == vet(created="2030-01-01T00:00:00Z").image_id
    assert plain.image_id != vet({"Cmd": ["/other"]}).image_id
