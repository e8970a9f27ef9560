"""What operators do about nodes from the command line."""

import pytest

NODE = {
    "name": "gpu-1",
    "pool": "a100",
    "status": "draining",
    "reason": "new disk",
    "slots": 2,
    "last_seen_at": "2026-11-21T12:00:00Z",
    "inventory": {
        "assay": "0.1.0",
        "engine": "podman 4.3.1",
        "gpus": [{"name": "A100"}, {"name": "A100"}],
        "cached_images": ["sha256:a", "sha256:b", "sha256:c"],
        "disk_free_bytes": 300 * 2**30,
    },
}
SIGN_IN = ("--url", "http://server", "--token", "assay_x")


def test_the_list_says_what_each_node_has_and_whether_it_takes_work(assay, server, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    silent = {**NODE, "name": "gpu-2", "reason": "", "status": "active", "last_seen_at": None, "inventory": {}}
    server.will_answer("GET", "nodes", [NODE, silent])
    lines = assay(*SIGN_IN, "nodes", "list").output.splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "gpu-" in line]
    assert cells == [
        [
            "gpu-1",
            "a100",
            "draining new disk",
            "2",
            "2026-11-21T12:00:00Z",
            "0.1.0",
            "podman 4.3.1",
            "A100, A100",
            "3",
            "300 GiB",
        ],
        ["gpu-2", "a100", "active", "2", "never", "", "", "", "0", ""],
    ]


def test_enrolling_prints_the_one_command_the_machine_needs(assay, server):
    server.will_answer("POST", "nodes", {"name": "gpu-1", "pool": "a100", "token": "assaynode_1"}, status=201)
    result = assay(*SIGN_IN, "nodes", "enrol", "gpu-1", "--pool", "a100", "--slots", "2")
    assert result.output == "On that machine, as root:  assay node join http://server --token assaynode_1\n"
    assert ("POST", "nodes", {"name": "gpu-1", "pool": "a100", "slots": 2}) in server.requests


@pytest.mark.parametrize(
    ("command", "status"),
    [("drain", "draining"), ("quarantine", "quarantined"), ("activate", "active"), ("remove", "removed")],
)
def test_each_command_asks_for_its_status_with_the_reason(assay, server, command, status):
    server.will_answer("POST", "nodes/gpu-1/status", {**NODE, "status": status})
    result = assay(*SIGN_IN, "nodes", command, "gpu-1", "--reason", "hot")
    assert result.output == f"gpu-1 is {status}\n"
    assert server.requests[-1] == ("POST", "nodes/gpu-1/status", {"status": status, "reason": "hot"})
