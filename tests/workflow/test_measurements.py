"""What Prometheus reads."""

import json
import re
from datetime import timedelta
from pathlib import Path

import yaml
from django.utils import timezone

import factories
from assay.runs.models import Node
from assay.workflow.flow.resuming import rerun_case
from assay.workflow.operations.measurements import GAUGES, exposition, table_of_gauges
from containers.engines.fake import FakeEnding


def test_the_numbers_say_what_waits_where_and_who_is_there(stage, client, settings):
    settings.METRICS_TOKEN = "scrape me"
    stage.submit()
    stage.check()
    text = client.get("/metrics", headers={"Authorization": "Bearer scrape me"}).content.decode()
    for line in (
        'assay_submissions_unfinished{status="queued"} 1',
        'assay_case_runs_queued{pool="default"} 1',
        'assay_nodes_known{pool="default"} 1',
        'assay_nodes_live{pool="default"} 0',
        "assay_leaderboards_behind 0",
        "# TYPE assay_case_runs_queued gauge",
    ):
        assert line in text.splitlines()


def test_without_the_token_there_is_no_such_page(db, client, settings):
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics").status_code == 404
    settings.METRICS_TOKEN = "secret"
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 404


def test_the_price_does_not_grow_with_the_number_of_submissions(stage, django_assert_num_queries):
    with django_assert_num_queries(21):
        exposition(now=factories.NOW)
    for _ in range(5):
        stage.submit()
    stage.check()
    with django_assert_num_queries(21):
        exposition(now=factories.NOW)


def test_a_node_says_how_long_it_has_been_silent_and_what_disk_it_has(stage):
    seen = factories.NOW - timedelta(seconds=90)
    Node.objects.update(last_seen_at=seen, inventory={"disk_free_bytes": 123456789012})
    lines = exposition(now=factories.NOW).splitlines()
    labels = '{node="node-1",pool="default",status="active"}'
    assert f"assay_node_seen_seconds{labels} 90" in lines
    assert f"assay_node_disk_free_bytes{labels} 123456789012" in lines


def test_what_failed_lately_is_counted_by_verdict_and_fault_and_what_was_kept_is_not(stage):
    stage.script = lambda call: FakeEnding(exit_code=1)
    submission = stage.submit()
    stage.play()
    line = 'assay_case_runs_failed_lately{fault="participant",verdict="nonzero_exit"} 2'
    assert line in exposition(now=timezone.now()).splitlines()
    stage.script = type(stage).script
    rerun_case(submission_id=submission.pk, case_id="a", by=stage.scene.olga, now=timezone.now())
    assert line in exposition(now=timezone.now()).splitlines()
    assert line not in exposition(now=timezone.now() + timedelta(hours=2)).splitlines()


def test_what_is_stuck_is_counted_by_kind(stage):
    stage.submit(status_changed_at=timezone.now() - timedelta(hours=1))
    assert 'assay_stuck{kind="check"} 1' in exposition(now=timezone.now()).splitlines()


def test_every_name_is_described_measured_or_not(stage):
    text = exposition(now=timezone.now())
    for name, help_text in GAUGES.items():
        assert f"# HELP {name} {help_text}\n# TYPE {name} gauge\n" in text


DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_manual_lists_every_name():
    assert table_of_gauges() in (DEPLOY / "README.md").read_text()


def expressions() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "monitoring/alerts.yaml").read_text())
    panels = json.loads((DEPLOY / "monitoring/grafana.json").read_text())["panels"]
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return alerts + [target["expr"] for panel in panels for target in panel["targets"]]


def test_alerts_and_dashboard_use_names_that_exist():
    used = {name for expression in expressions() for name in re.findall(r"assay_\w+", expression)}
    assert len(used) > 12
    assert used <= set(GAUGES)


def test_every_alert_says_what_to_do():
    rules = yaml.safe_load((DEPLOY / "monitoring/alerts.yaml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "warn")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]
