"""Containers as Pods: verdicts, whose fault, and what is left when parts of a cluster fail.

No cluster can be had where these tests run. They run against `fake_cluster.py`, whose first lines say what of it is true to Kubernetes.
"""

import hashlib
import io
import json
import tarfile
import threading
import time
from dataclasses import replace

import pytest

import containers.engines.kubernetes as kubernetes_module
from containers.engines import OWNER_LABEL
from containers.engines.kubernetes import KubernetesEngine, denies_all, quantity
from containers.errors import ContainerStuck, EngineRefused, NameTaken
from containers.sandbox.runner import remove_leftovers, run
from containers.verdicts import Fault, Verdict
from fake_cluster import running_fake_cluster
from waits import SOON_SECONDS, is_judged_by_its_own_time

OK = "open('/output/result.txt', 'w').write('done')"
WAITS = f"import time; time.sleep(1.5); {OK}"
HANGS = "import time; time.sleep(600)"


@pytest.fixture
def cluster(tmp_path):
    """A cluster of this test's own: what happens to it concerns nobody else."""
    with running_fake_cluster(folder=tmp_path / "machine", claim_root=tmp_path) as cluster:
        yield cluster


@pytest.fixture
def engine(cluster, tmp_path):
    with KubernetesEngine(base_url=cluster.url, folder=tmp_path / "engine", options=cluster.options()) as engine:
        yield engine


@pytest.fixture
def image(engine):
    return engine.import_image(root_archive=b"\0" * 1024, entrypoint=("/usr/bin/true",), tag="tests/shell:1")


@pytest.fixture
def case(engine, image, cluster, spec_of, scratch, owner):
    """Run a Python program as a Pod. Nothing of it is left afterwards."""

    def go(program, *, should_cancel=lambda: False, limits=None, **changes):
        spec = spec_of(**{"image_id": image, "command": ("python3", "-c", program), "name": "case-1", **changes})
        spec = replace(spec, limits=replace(spec.limits, **(limits or {})))
        return run(spec, engine=engine, scratch=scratch, should_cancel=should_cancel, labels={OWNER_LABEL: owner})

    yield go
    assert engine.containers_of(owner) == []
    assert list((engine.folder / "containers").iterdir()) == []
    assert list((scratch / "runs").iterdir()) == []


@pytest.fixture
def meanwhile(cluster):
    """Do something to the Pod of a case as soon as it runs, or as soon as `when` is true of it."""
    threads = []

    def go(act, *, when=lambda pod: pod["status"]["phase"] == "Running"):
        def wait():
            give_up_at = time.monotonic() + 30
            while time.monotonic() < give_up_at:
                pod = cluster.pods.get("case-1")
                if pod is not None and when(pod):
                    return act()
                time.sleep(0.01)
            return None

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield go
    for thread in threads:
        thread.join()


# ---- ends of its own -----------------------------------------------------------------------------------------------


def test_a_case_runs_as_a_pod_and_its_output_comes_back(case):
    result = case(f"import os; os.mkdir('/output/more'); {OK}; print(open('/input/scan.txt').read())")
    assert (result.verdict, result.exit_code) == (Verdict.OK, 0), result
    assert result.outputs[0].path.read_text() == "done"
    assert result.log == b"a scan\n"


def test_an_exit_code_is_the_programs_own(case):
    result = case("raise SystemExit(7)")
    assert (result.verdict, result.exit_code) == (Verdict.NONZERO_EXIT, 7)


def test_dollar_signs_reach_the_program_as_they_are(case):
    """Kubernetes replaces `$(NAME)` in commands and variables."""
    program = "import os; open('/output/result.txt', 'w').write(os.environ['WORDS'] + ' $(HOME) $$ $x')"
    result = case(program, environment={"WORDS": "$(HOME) $$(HOME) $HOME"})
    assert result.outputs[0].path.read_text() == "$(HOME) $$(HOME) $HOME $(HOME) $$ $x"


def test_the_kernel_kills_it_for_memory(case, cluster, meanwhile):
    meanwhile(lambda: cluster.kill_for_memory("case-1"))
    result = case(HANGS)
    assert (result.verdict, result.exit_code) == (Verdict.OUT_OF_MEMORY, 137)


def test_a_sleeper_is_ended_at_the_second_although_the_kubelet_counts_whole_ones(case):
    result = case(HANGS, limits={"wall_seconds": 1.5})
    assert result.verdict == Verdict.TIMEOUT
    assert 1.5 < result.usage.wall_seconds < SOON_SECONDS


def test_a_program_that_is_not_there_is_the_images_fault(case):
    result = case("", command=("/no/such/program",))
    assert (result.verdict, result.reason) == (Verdict.IMAGE_INVALID, "entry_point_not_runnable")


@pytest.mark.parametrize(
    ("program", "verdict", "reason"),
    [
        ("import os; os.symlink('/etc/passwd', '/output/result.txt')", Verdict.OUTPUT_INVALID, "symlink"),
        ("import os; os.mkfifo('/output/result.txt')", Verdict.OUTPUT_INVALID, "not_a_file"),
        (
            "import os, socket; os.chdir('/output'); socket.socket(1).bind('result.txt')",
            Verdict.OUTPUT_INVALID,
            "not_a_file",
        ),
        (
            "import os; open('/output/a', 'w'); os.link('/output/a', '/output/result.txt')",
            Verdict.OUTPUT_INVALID,
            "hard_link",
        ),
        ("open('/output/result.txt', 'wb').truncate(2**40)", Verdict.OUTPUT_TOO_LARGE, "bytes_limit"),
        ("open('/output/result.txt', 'wb').truncate(5 * 2**20)", Verdict.OUTPUT_TOO_LARGE, "file_too_large"),
        ("[open(f'/output/{n}', 'w').close() for n in range(90)]", Verdict.OUTPUT_TOO_LARGE, "files_limit"),
        ("pass", Verdict.OUTPUT_MISSING, "missing"),
    ],
)
def test_hostile_output_comes_back_as_what_it_is(case, program, verdict, reason):
    result = case(program)
    assert (result.verdict, result.reason) == (verdict, reason), result


def test_folders_and_files_that_were_closed_are_opened_by_their_owner(case):
    program = f"import os; {OK}; os.mkdir('/output/d'); os.chmod('/output/d', 0); os.chmod('/output/result.txt', 0)"
    assert case(program).verdict == Verdict.OK


def test_its_own_log_is_too_large_for_its_machine(case, cluster, meanwhile):
    """An eviction for the Pod's own limits is no fault of the cluster."""
    words = 'Container algorithm exceeded its local ephemeral storage limit "2Gi". '
    meanwhile(lambda: cluster.evict("case-1", words))
    result = case(HANGS)
    assert (result.verdict, result.exit_code) == (Verdict.NONZERO_EXIT, 137)


def test_a_long_log_keeps_its_beginning_and_its_end(case):
    result = case(f"print('first'); print('x' * 3_000_000); print('last'); {OK}", limits={"wall_seconds": 30})
    assert result.log.startswith(b"first")
    assert result.log.rstrip().endswith(b"last")
    assert b"bytes left out" in result.log


# ---- taken away ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["evict", "preempt", "lose_machine", "delete"])
def test_what_the_cluster_takes_away_is_nobodys_fault(case, cluster, meanwhile, monkeypatch, what):
    monkeypatch.setattr(kubernetes_module, "REMOVAL_SECONDS", 0.3)
    acts = {
        "evict": lambda: cluster.evict("case-1", "The node was low on resource: memory."),
        "preempt": lambda: cluster.preempt("case-1"),
        "lose_machine": lambda: cluster.lose_machine("case-1"),
        "delete": lambda: cluster.delete("case-1", {"gracePeriodSeconds": 0}),
    }
    meanwhile(acts[what])
    result = case(HANGS)
    assert (result.verdict, result.reason) == (Verdict.INFRASTRUCTURE, "engine_restarted"), result
    assert result.verdict.fault is Fault.PLATFORM


def test_a_machine_that_says_nothing_of_the_end_is_the_clusters_fault(case, cluster, meanwhile):
    meanwhile(lambda: cluster.tell("case-1", phase="Failed", reason="NodeShutdown", message="Pod was terminated"))
    assert case(HANGS).verdict == Verdict.INFRASTRUCTURE


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"])
def test_what_no_waiting_cures_ends_the_wait(case, cluster, meanwhile, reason):
    cluster.pull_error = "not yet"
    meanwhile(
        lambda: cluster.say_waiting("case-1", reason, "no"), when=lambda pod: pod["status"].get("containerStatuses")
    )
    assert case(HANGS).verdict == Verdict.INFRASTRUCTURE


def test_a_mount_point_that_is_a_file_is_the_images_fault(case, cluster, meanwhile):
    cluster.pull_error = "not yet"
    words = 'failed to create containerd task: mount "/input": not a directory: unknown'
    act = lambda: cluster.say_waiting("case-1", "CreateContainerError", words)  # noqa: E731
    meanwhile(act, when=lambda pod: pod["status"].get("containerStatuses"))
    result = case(HANGS)
    assert (result.verdict, result.reason) == (Verdict.IMAGE_INVALID, "mount_point_blocked")


def test_an_image_that_cannot_be_fetched_for_a_while_costs_no_time(case, cluster, meanwhile):
    cluster.pull_error = "dial tcp: connection refused"

    def heal():
        time.sleep(3.0)
        cluster.pull_error = ""

    meanwhile(heal, when=lambda pod: pod["status"].get("containerStatuses"))
    result = case(OK, limits={"wall_seconds": 2.9})
    assert is_judged_by_its_own_time(result, wall_seconds=2.9), result


def test_an_image_that_never_comes_is_given_back(case, cluster, monkeypatch):
    monkeypatch.setattr(kubernetes_module, "FETCH_PATIENCE_SECONDS", 0.3)
    cluster.pull_error = "dial tcp: connection refused"
    result = case(OK)
    assert result.verdict == Verdict.INFRASTRUCTURE
    assert result.verdict.fault is Fault.PLATFORM


def test_the_courier_dies_and_its_case_is_tried_again(case, cluster, meanwhile):
    meanwhile(lambda: cluster.kubelets["case-1"].end("courier"))
    assert case(f"import time; time.sleep(0.5); {OK}").verdict == Verdict.INFRASTRUCTURE


def test_a_pods_own_deadline_before_the_algorithms_time_is_over_is_no_time_out(case, cluster, meanwhile):
    """An image that takes half an hour to fetch must not cost the participant's time."""
    act = lambda: cluster.patch("case-1", {"spec": {"activeDeadlineSeconds": 1}})  # noqa: E731
    meanwhile(act)
    assert case(HANGS, limits={"wall_seconds": 60}).verdict == Verdict.INFRASTRUCTURE


# ---- waiting and cancelling ----------------------------------------------------------------------------------------


def test_waiting_for_a_machine_is_no_run_time(case, cluster, meanwhile):
    cluster.has_room = False

    def arrive():
        time.sleep(1.0)
        cluster.make_room()

    meanwhile(arrive, when=lambda pod: not pod["spec"].get("schedulingGates"))
    result = case(OK, limits={"wall_seconds": 0.9})
    assert is_judged_by_its_own_time(result, wall_seconds=0.9), result
    assert result.usage.startup_seconds >= 1


def test_a_pod_that_waits_can_be_cancelled(case, cluster):
    cluster.has_room = False
    begun = time.monotonic()
    result = case(OK, should_cancel=lambda: time.monotonic() - begun > 0.3)
    assert result.verdict == Verdict.CANCELLED
    assert time.monotonic() - begun < SOON_SECONDS


def test_a_pod_that_runs_is_cancelled_within_seconds(case):
    begun = time.monotonic()
    result = case(HANGS, should_cancel=lambda: time.monotonic() - begun > 0.5)
    assert result.verdict == Verdict.CANCELLED
    assert time.monotonic() - begun < SOON_SECONDS


# ---- the API server -----------------------------------------------------------------------------------------------


def test_a_watch_goes_on_where_it_ended(case, cluster, engine):
    cluster.patience_of_watches = 0.2
    assert case(WAITS).verdict == Verdict.OK
    watches = [path for method, path in cluster.requests if "watch=true" in path]
    assert len(watches) > 3
    assert engine.watch.lists == 1


def test_a_version_that_is_forgotten_is_no_reason_to_lose_a_pod(case, cluster, engine, meanwhile):
    meanwhile(cluster.compact, when=lambda _: any("watch=true" in path for _, path in cluster.requests))
    assert case(WAITS).verdict == Verdict.OK
    assert engine.watch.lists == 2


def test_a_server_that_is_away_for_a_while_costs_nothing(case, cluster, meanwhile):
    def away():
        cluster.is_down = True
        time.sleep(0.8)
        cluster.is_down = False

    meanwhile(away)
    assert case(WAITS).verdict == Verdict.OK


def test_two_slots_share_one_watch_and_the_last_one_ends_it(cluster, engine, tmp_path):
    other = KubernetesEngine(base_url=cluster.url, folder=tmp_path / "engine", options=cluster.options())
    assert other.watch is engine.watch
    other.close()
    assert engine.facts().is_batch


def test_a_name_is_a_mutex_between_agents_and_neither_deletes_the_others(cluster, engine, image, tmp_path):
    body = {"Image": image, "Entrypoint": ["sleep", "600"], "Labels": {OWNER_LABEL: "one"}}
    engine.create(name="case-9", body=body)
    with (
        KubernetesEngine(base_url=cluster.url, folder=tmp_path / "engine", options=cluster.options()) as other,
        pytest.raises(NameTaken),
    ):
        other.create(name="case-9", body=body)
    cluster.delete("case-9", {"gracePeriodSeconds": 0})
    later = cluster.create({**engine_pod(cluster), "metadata": {"name": "case-9"}}, strict=True)
    engine.remove("case-9")
    assert cluster.pods["case-9"]["metadata"]["uid"] == later["metadata"]["uid"]


def engine_pod(cluster):
    made = next(pod for _, kind, pod in cluster.changes if kind == "ADDED")
    return {"apiVersion": "v1", "kind": "Pod", "spec": made["spec"]}


def test_the_next_agent_removes_what_a_dead_one_left(cluster, engine, image, owner, tmp_path):
    body = {"Image": image, "Entrypoint": ["sleep", "600"], "Labels": {OWNER_LABEL: owner}}
    engine.start(engine.create(name="case-9", body=body))
    with KubernetesEngine(base_url=cluster.url, folder=tmp_path / "engine", options=cluster.options()) as later:
        assert remove_leftovers(later, owner=owner, keep=set()) == 1
        assert cluster.pods == {}
        assert list((tmp_path / "engine" / "containers").iterdir()) == []


def test_a_pod_that_will_not_go_is_said_and_not_forced(cluster, engine, image, owner, monkeypatch):
    monkeypatch.setattr(kubernetes_module, "REMOVAL_SECONDS", 0.3)
    engine.start(
        engine.create(
            name="case-9", body={"Image": image, "Entrypoint": ["sleep", "600"], "Labels": {OWNER_LABEL: owner}}
        )
    )
    while cluster.pods["case-9"]["status"]["phase"] != "Running":
        time.sleep(0.01)
    cluster.kubelets["case-9"].is_silent = True
    with pytest.raises(ContainerStuck):
        engine.remove("case-9")
    cluster.kubelets["case-9"].is_silent = False
    engine.remove("case-9")


def test_memory_and_processors_come_from_the_metrics_server(case, cluster, monkeypatch):
    monkeypatch.setattr(kubernetes_module, "METRICS_SECONDS", 0.2)
    usage = {"cpu": "500m", "memory": "64Mi"}
    cluster.metrics = lambda name: {
        "containers": [{"name": "algorithm", "usage": usage}, {"name": "courier", "usage": usage}]
    }
    result = case(WAITS)
    assert result.usage.sample_count >= 3
    assert result.usage.memory_curve.values[-1] == 64 * 2**20


# ---- images --------------------------------------------------------------------------------------------------------


def test_an_archive_goes_into_the_registry_by_digest(engine, cluster, tmp_path):
    layer = b"\0" * 1024
    diff_id = hashlib.sha256(layer).hexdigest()
    config = json.dumps({"config": {"Cmd": ["/a"]}, "rootfs": {"diff_ids": [f"sha256:{diff_id}"]}}).encode()
    config_name = hashlib.sha256(config).hexdigest()
    manifest = json.dumps(
        [{"Config": f"{config_name}.json", "RepoTags": None, "Layers": [f"{diff_id}/layer.tar"]}]
    ).encode()
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        for name, data in (
            (f"{config_name}.json", config),
            ("manifest.json", manifest),
            (f"{diff_id}/layer.tar", layer),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    engine.load_image(archive)
    assert f"sha256:{config_name}" in engine.image_ids()
    facts = engine.image_facts(f"sha256:{config_name}")
    assert (facts.command, facts.bytes, facts.layers) == (("/a",), 1024, {f"sha256:{diff_id}"})
    sent = [path for method, path in cluster.requests if method == "PUT"]
    engine.load_image(archive)
    again = [path for method, path in cluster.requests if method == "PUT"][len(sent) :]
    assert all("/manifests/" in path for path in again), "a blob that is there is not sent again"
    engine.remove_image(f"sha256:{config_name}")
    engine.remove_image(f"sha256:{config_name}")
    assert f"sha256:{config_name}" not in engine.image_ids()


def test_a_list_of_images_has_pages(engine, cluster):
    cluster.registry.page = 2
    made = {engine.import_image(root_archive=bytes([n]) * 1024, entrypoint=("/a",), tag=f"t{n}") for n in range(5)}
    assert engine.image_ids() == made


# ---- small things --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"), [("250m", 0.25), ("2", 2), ("1Gi", 2**30), ("5000000n", 0.005), ("3k", 3000)]
)
def test_quantities_are_kubernetes_own(text, number):
    assert quantity(text) == number


def test_a_policy_denies_all_or_it_does_not():
    policy = {"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
    assert denies_all(policy)
    assert not denies_all({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
    assert not denies_all({"spec": {**policy["spec"], "egress": [{}]}})
    assert not denies_all({"spec": {**policy["spec"], "podSelector": {"matchLabels": {"app": "x"}}}})


def test_an_unknown_word_of_the_operators_is_refused(cluster):
    with pytest.raises(EngineRefused, match="--runtime-class="):
        KubernetesEngine(base_url=cluster.url, options=cluster.options("--runtime=gvisor"))
    with pytest.raises(EngineRefused, match="--registry"):
        KubernetesEngine(base_url=cluster.url, options="--claim=a")
