"""What Prometheus reads."""

import factories
from assay.workflow.measurements import exposition


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
    with django_assert_num_queries(7):
        exposition(now=factories.NOW)
    for _ in range(5):
        stage.submit()
    stage.check()
    with django_assert_num_queries(7):
        exposition(now=factories.NOW)
