"""A program that starts machines is told what waits: by a command or an address, as a state and not as an order."""

import json
import sys

import httpx
import pytest

import factories
from assay.runs.models import CaseRun, Node, Run
from assay.workflow.operations import demand as demand_module
from assay.workflow.operations.demand import demand, tell_demand


@pytest.fixture
def queue(scene):
    def go(*words, gpus=0):
        scene.phase.needs = list(words)
        scene.phase.save()
        submission = factories.submission(phase=scene.phase, team=scene.team, status="running")
        run = Run.objects.create(submission=submission, number=1, pool="default", created_at=factories.NOW)
        rows = [
            CaseRun(run=run, position=n, pool="default", status="queued", gpus=gpus, queued_at=factories.NOW)
            for n in range(3)
        ]
        CaseRun.objects.bulk_create(rows)

    return go


def test_what_waits_is_told_by_pool_and_by_need(queue):
    queue("gpu=A100", gpus=1)
    Node.objects.create(name="n", token_hash="x", slots=2, created_at=factories.NOW, last_seen_at=factories.NOW)
    found = demand(now=factories.NOW)
    assert found["live_slots"] == {"default": 2}
    [line] = found["waiting"]
    assert (line["case_runs"], line["gpus"], line["needs"]) == (3, 1, ["gpu=A100"])
    since = f"{factories.NOW:%Y-%m-%d %H:%M} UTC"
    assert line["text"] == f"3 case runs wait for 1 GPU (A100) in pool default since {since}"


def test_a_paused_phase_wants_no_machines(queue, scene):
    queue()
    scene.phase.is_paused = True
    scene.phase.save()
    assert demand(now=factories.NOW)["waiting"] == []


def test_without_a_hook_nobody_is_told(queue):
    queue()
    assert tell_demand(now=factories.NOW) is False


def test_a_command_is_told_as_json_and_once_that_nothing_waits_any_more(queue, settings, tmp_path):
    told = tmp_path / "told.json"
    program = f"import sys; open({str(told)!r}, 'w').write(sys.stdin.read())"
    settings.DEMAND_COMMAND = f'{sys.executable} -c "{program}"'
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "demand"}}
    queue()
    assert tell_demand(now=factories.NOW) is True
    assert json.loads(told.read_text())["waiting"][0]["case_runs"] == 3
    CaseRun.objects.update(status="done")
    assert tell_demand(now=factories.NOW) is True
    assert json.loads(told.read_text())["waiting"] == []
    assert tell_demand(now=factories.NOW) is False


def test_a_command_that_fails_is_asked_again(queue, settings):
    settings.DEMAND_COMMAND = "false"
    queue()
    assert tell_demand(now=factories.NOW) is False


def test_an_address_gets_the_same(queue, settings, monkeypatch):
    settings.DEMAND_URL = "https://scaler.example.org/"
    posted = []

    def post(url, *, json, timeout):
        posted.append((url, json["waiting"][0]["case_runs"]))
        return httpx.Response(204, request=httpx.Request("POST", url))

    monkeypatch.setattr(demand_module.httpx, "post", post)
    queue()
    assert tell_demand(now=factories.NOW) is True
    assert posted == [("https://scaler.example.org/", 3)]
