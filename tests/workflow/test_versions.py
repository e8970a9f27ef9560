"""Old and new programs and servers together: a whole run with a node of the first version, and what each is told when it is too old.

The node of the first version is a script of what it sent (its requests, letter by letter), because its code is not here any more.
"""

import hashlib

import httpx
import pytest
from click.testing import CliRunner
from django.test import Client

import assay.client.http as client_http
from assay.client.api import Client as PythonClient
from assay.client.cli import main
from assay.client.errors import UpgradeNeededError
from assay.client.http import Connection
from assay.handshake import CLIENT_HEADER, SERVER_HEADER, installed_version
from assay.node import cli as node_cli
from assay.node.http import NodeApi, NodeApiProblem, UpgradeNeeded
from assay.runs.models import CaseRun, Node
from assay.submissions.models import Submission
from wire import send_through

USAGE_OF_THE_FIRST_VERSION = {
    "wall_seconds": 3.211, "startup_seconds": 0.204, "cpu_seconds": 2.75, "cpu_area_percent_seconds": 275.0, "cpus": 1,
    "peak_memory_bytes": 104857600, "stable_memory_bytes": 94371840, "memory_area_byte_seconds": 303038464,
    "memory_curve": {"seconds": [0.1, 1.1], "values": [1048576, 94371840]},
    "cpu_curve": {"seconds": [0.1, 1.1], "values": [0.05, 1.0]}, "sample_count": 4, "largest_gap_seconds": 1.0,
    "is_valid": True, "gpu_uuids": [], "output_bytes": 512, "output_files": 1, "store": "tmpfs",
}  # fmt: skip
INVENTORY_OF_THE_FIRST_VERSION = {
    "cpu_count": 8, "cpu_model": "AMD EPYC", "memory_bytes": 2**35, "disk_free_bytes": 2**38, "architecture": "x86_64",
    "kernel": "6.1.0", "python": "3.11.2", "engine": "docker 20.10.24", "driver": "", "gpus": [],
}  # fmt: skip


def without_handshake(transport: httpx.MockTransport) -> httpx.MockTransport:
    """A wire between us and a peer of the first version: neither header passes."""

    def handle(request: httpx.Request) -> httpx.Response:
        request.headers.pop(CLIENT_HEADER, None)
        answer = transport.handler(request)
        answer.headers.pop(SERVER_HEADER, None)
        return answer

    return httpx.MockTransport(handle)


class FirstNode:
    """What `assay node run` of the first version sends, in its order."""

    def __init__(self, *, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "python-httpx/0.28.1"}
        self._http = httpx.Client(base_url="http://testserver", headers=headers, transport=send_through(Client()))

    def post(self, door: str, body: dict) -> httpx.Response:
        return self._http.post(f"/api/v1/node/{door}", json=body)

    def work(self) -> int:
        """Register, then run what there is. How many case runs that was. Copies its input to its output."""
        hello = self.post("register", {"slots": None, "inventory": INVENTORY_OF_THE_FIRST_VERSION})
        assert {"name", "pool", "installation", "slots"} <= hello.json().keys()
        done = 0
        while True:
            claim = {"slots": 1, "cached_images": [], "disk_free_bytes": 2**38}
            answer = self.post("claim", claim)
            if answer.status_code == 204:
                return done
            self._run(answer.json())
            done += 1

    def _run(self, order: dict) -> None:
        lease = {"case_run_id": order["case_run_id"], "fence": order["fence"]}
        beat = self.post("heartbeat", lease).json()
        assert (beat["cancel"], beat["lease_seconds"] > 0) == (False, True)
        content = self._http.get(order["inputs"][0]["url"]).raise_for_status().content
        assert hashlib.sha256(content).hexdigest() == order["inputs"][0]["sha256"]
        name, address = order["spec"]["outputs"][0]["name"], f"/api/v1/node/case-runs/{order['case_run_id']}"
        fence = {"fence": order["fence"]}
        self._http.put(f"{address}/log", params=fence, content=b"done\n").raise_for_status()
        self._http.put(f"{address}/outputs/{name}", params=fence, content=content).raise_for_status()
        output = {"name": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        ending = {
            "verdict": "ok",
            "reason": "",
            "exit_code": 0,
            "usage": USAGE_OF_THE_FIRST_VERSION,
            "outputs": [output],
        }
        self.post("record", {**lease, **ending}).raise_for_status()


def finish(stage) -> Submission:
    stage.score()
    stage.rank()
    return Submission.objects.get()


def test_a_node_of_the_first_version_runs_a_submission_to_its_score(stage):
    stage.submit()
    stage.check()
    assert FirstNode(token=stage.token).work() == 2
    assert finish(stage).status == Submission.Status.DONE
    stored = CaseRun.objects.first().usage.to_json()
    sent = {name: value for name, value in USAGE_OF_THE_FIRST_VERSION.items() if name != "gpu_uuids"}
    assert {name: stored[name] for name in sent} == sent


def test_a_node_of_this_version_works_for_a_server_of_the_first_version(stage):
    wire = without_handshake(send_through(Client()))
    stage.api = lambda: NodeApi(url="http://testserver", token=stage.token, transport=wire, sleep=lambda _: None)
    stage.submit()
    stage.check()
    assert stage.run_cases() == 2
    assert finish(stage).status == Submission.Status.DONE


def test_a_node_that_is_too_old_is_told_so_and_gets_no_work(stage, monkeypatch):
    monkeypatch.setattr("assay.handshake.LOWEST_SERVED", 4)
    stage.submit()
    stage.check()
    sentence = (
        f"Upgrade the node: it speaks API level 1, this server (Assay {installed_version()}) serves level 4 and later."
    )
    answer = FirstNode(token=stage.token).post("claim", {"slots": 1})
    assert (answer.status_code, answer.json()["error"]["message"]) == (426, sentence)
    assert not CaseRun.objects.exclude(node=None).exists()


@pytest.fixture
def node_command(stage, monkeypatch, tmp_path):
    """`assay node …` on a machine that is ready, with a wire to the server."""
    monkeypatch.setattr(node_cli, "take_inventory", lambda **_options: {"assay": installed_version()})
    monkeypatch.setattr(node_cli, "describe_engine", lambda _engine: "docker")
    monkeypatch.setattr(node_cli, "examine", lambda **_options: [])
    monkeypatch.setattr(node_cli, "server_clock_ahead_seconds", lambda _url: 0.0)

    def run(*words: str, transport: httpx.MockTransport):
        monkeypatch.setattr(
            node_cli, "NodeApi", lambda **options: NodeApi(**options, transport=transport, sleep=lambda _: None)
        )
        places = ["--token", stage.token, "--folder", str(tmp_path / "folder")]
        return CliRunner().invoke(node_cli.node, [*words, *places])

    return run


COMMANDS_OF_NODES = [("run", "--url", "http://testserver"), ("join", "http://testserver", "--no-service")]


@pytest.mark.parametrize("words", COMMANDS_OF_NODES, ids=lambda words: words[0])
def test_the_command_of_a_node_that_is_too_old_prints_one_sentence(node_command, monkeypatch, tmp_path, words):
    monkeypatch.setattr("assay.handshake.LOWEST_SERVED", 4)
    config = ("--config", str(tmp_path / "config")) if words[0] == "join" else ()
    result = node_command(*words, *config, transport=send_through(Client()))
    assert result.exit_code == 1
    assert (
        f"Error: Upgrade the node: it speaks API level 2, this server (Assay {installed_version()}) serves level 4"
        in result.output
    )
    assert "Traceback" not in result.output
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize("words", COMMANDS_OF_NODES, ids=lambda words: words[0])
def test_the_command_of_a_node_whose_server_is_too_old_prints_one_sentence(node_command, monkeypatch, tmp_path, words):
    monkeypatch.setattr("assay.handshake.LOWEST_USED", 2)
    config = ("--config", str(tmp_path / "config")) if words[0] == "join" else ()
    result = node_command(*words, *config, transport=without_handshake(send_through(Client())))
    assert result.exit_code == 1
    assert (
        "Error: Upgrade the server: it is the first version of Assay and speaks API level 1, "
        f"the node (Assay {installed_version()}) needs level 2 or later."
    ) in result.output
    assert "Traceback" not in result.output


def test_a_running_node_keeps_asking_until_one_side_is_upgraded(stage, monkeypatch, caplog):
    """So that an upgrade that is taken back does not leave the machine stopped."""
    stage.submit()
    stage.check()
    with monkeypatch.context() as newer:
        newer.setattr("assay.handshake.LOWEST_SERVED", 4)
        assert stage.run_cases() == 0
        assert "Upgrade the node" in caplog.records[-1].why
    assert stage.run_cases() == 2


def test_operators_see_the_version_of_a_node(stage):
    stage.api().register(slots=None, inventory={"assay": "0.1.0"})
    assert Node.objects.get().inventory["assay"] == "0.1.0"


@pytest.fixture
def command(stage, monkeypatch, tmp_path):
    """The `assay` command with a wire to the server."""
    real = httpx.Client
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(client_http.time, "sleep", lambda _seconds: None)

    def run(*words: str, transport: httpx.MockTransport):
        monkeypatch.setattr(client_http.httpx, "Client", lambda **options: real(**{**options, "transport": transport}))
        return CliRunner().invoke(main, ["--url", "http://testserver", *words])

    return run


def test_a_command_that_is_too_old_prints_what_to_upgrade(command, monkeypatch):
    monkeypatch.setattr("assay.handshake.LOWEST_SERVED", 4)
    result = command("challenge", "list", transport=send_through(Client()))
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"Error: Upgrade the `assay` command: it speaks API level 2, this server (Assay {installed_version()}) serves level 4 and later.",
        f"  what to do: Install Assay {installed_version()} there.",
    ]


def test_a_command_works_with_a_server_of_the_first_version(command):
    result = command("challenge", "list", transport=without_handshake(send_through(Client())))
    assert result.exit_code == 0, result.output
    assert "brains" in result.output


def test_a_command_whose_server_is_too_old_prints_what_to_upgrade(command, monkeypatch):
    monkeypatch.setattr("assay.handshake.LOWEST_USED", 2)
    result = command("challenge", "list", transport=without_handshake(send_through(Client())))
    assert result.exit_code == 1
    assert result.output.startswith(
        "Error: Upgrade the server: it is the first version of Assay and speaks API level 1, the `assay` "
    )
    assert len(result.output.splitlines()) == 1


def test_what_an_older_server_does_not_know_is_explained(command):
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"error": {"code": "not_found", "message": "There is nothing here."}})

    result = command("challenge", "list", transport=httpx.MockTransport(handle))
    assert (
        "what to do: The server (the first version of Assay, API level 1) is older than this program" in result.output
    )


def test_a_proxy_that_answers_for_the_server_is_not_called_an_old_server(command, monkeypatch):
    monkeypatch.setattr("assay.handshake.LOWEST_USED", 2)
    result = command(
        "challenge", "list", transport=httpx.MockTransport(lambda _: httpx.Response(502, text="bad gateway"))
    )
    assert "502" in result.output
    assert "Upgrade" not in result.output


def test_the_python_client_says_which_side_is_too_old(stage, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    wire = without_handshake(send_through(Client()))
    with PythonClient("http://testserver", transport=wire) as client:
        assert [challenge.slug for challenge in client.challenges()] == ["brains"]
        monkeypatch.setattr("assay.handshake.LOWEST_USED", 2)
        with pytest.raises(UpgradeNeededError, match=r"the Python client .* needs level 2 or later"):
            client.challenges()


def test_a_sites_agent_says_which_side_is_too_old(stage, monkeypatch):
    monkeypatch.setattr("assay.handshake.LOWEST_SERVED", 4)
    with (
        Connection(
            url="http://testserver", token="assaysite_x", program="site", transport=send_through(Client())
        ) as site,
        pytest.raises(Exception, match=r"^Upgrade the site agent: it speaks API level 2"),
    ):
        site.get("site/about")


def test_a_refusal_in_the_middle_of_a_case_is_a_problem_that_the_agent_survives(stage, monkeypatch):
    stage.submit()
    stage.check()
    order = stage.api().claim(slots=1, cached_images=[])
    monkeypatch.setattr("assay.handshake.LOWEST_SERVED", 4)
    with pytest.raises(UpgradeNeeded) as caught:
        stage.api().heartbeat(order)
    assert isinstance(caught.value, NodeApiProblem)
