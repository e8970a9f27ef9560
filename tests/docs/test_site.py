"""The documentation builds without a warning, fetches nothing from elsewhere, and names what the product has."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.ranking.document.presets import preset_document, preset_names

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs" / "site"
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["'](?:https?:)?//|<link[^>]+rel=["'](?:stylesheet|preconnect|preload)[^>]+href=["'](?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it. The build fails on any warning, broken links among them."""
    target = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, str(SITE / "build.py"), "--target", str(target)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return target


@pytest.fixture
def generators(monkeypatch):
    """The modules that write pages can be imported by their names."""
    monkeypatch.syspath_prepend(str(SITE))


@pytest.mark.slow
@pytest.mark.xdist_group("site")  # one process builds the site for all of them
def test_no_page_fetches_anything_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    assert [page.name for page in pages if FETCHED.search(page.read_text())] == []
    assert [
        sheet.name
        for sheet in site.rglob("*.css")
        if re.search(r"@import|url\((?:[\"'])?(?:https?:)?//", sheet.read_text())
    ] == []


@pytest.mark.slow
@pytest.mark.xdist_group("site")
@pytest.mark.parametrize(
    "page",
    [
        "index", "participants/verdicts", "reference/metrics/nsd", "reference/protocols/flare22", "reference/commands", "reference/api",
        "operators/environment", "developers/decisions/index",
    ],
)  # fmt: skip
def test_each_kind_of_page_is_there(site, page):
    assert (site / f"{page}.html").is_file()


NAMED = (
    *(
        "grand-challenge: algorithm",
        "grand-challenge: evaluation",
        "SegRap 2023",
        "FLARE 2021",
        "nnU-Net v2: a container",
        "MLCube",
    ),
    *(
        "MedPerf: container_config image",
        "TIRA",
        "with its scoring program",
        "Decathlon",
        "nnU-Net v2: raw data folder",
        "BIDS",
    ),
)


def test_the_table_of_existing_things_has_what_people_bring(generators):
    import existing_things_page

    things = existing_things_page.existing_things()
    assert len(things) >= 12
    assert len({thing.name for thing in things}) == len(things)
    submitted = [thing.name for thing in things if thing.through == "submission" and thing.runs != "not"]
    assert len(submitted) >= 6
    for words in NAMED:
        rows = [thing for thing in things if words in thing.name]
        assert rows, words
        assert {thing.runs for thing in rows} <= {"unchanged", "one command"}, words
    ((place, text),) = existing_things_page.pages()
    assert place == "organizers/existing-things.md"
    for thing in things:
        assert thing.name in text


def test_every_table_of_scores_that_a_test_reads_is_listed(generators):
    import score_tables_page

    rows = score_tables_page.score_tables()
    assert sum(outcome.startswith("ranked") for _, outcome, _ in rows) >= 27
    assert len({(name, shown_by) for name, _, shown_by in rows}) == len(rows)
    ((_, text),) = score_tables_page.pages()
    assert all(name in text for name, _, _ in rows)


def test_every_preset_is_listed_with_its_source_and_board(generators):
    import ranking_presets_page

    ((_, text),) = ranking_presets_page.pages()
    for name in preset_names():
        assert f"`{name}`" in text
        assert preset_document(name)["source"].partition("|")[0] in text


def test_every_variable_the_product_reads_is_explained_and_no_other(generators):
    import environment_page

    explained = {name for group in environment_page.meanings().values() for name in group}
    assert explained == set(environment_page.read_variables())


def test_every_reason_of_a_verdict_is_explained_under_one_verdict(generators):
    import verdicts_page

    from containers.verdicts import Reason, Verdict

    listed = [reason for reasons in verdicts_page.BELONGS.values() for reason in reasons]
    assert sorted(listed) == sorted(set(Reason) - {Reason.NONE})
    assert set(verdicts_page.REASONS) == set(listed)
    assert {row.verdict for row in verdicts_page.VERDICT_HELP} == set(Verdict)


def test_every_metric_has_words_and_a_page(generators):
    import metric_pages

    from evaluator.metrics.registry import REGISTRY

    pages = dict(metric_pages.pages())
    assert set(pages) == {f"reference/metrics/{name}.md" for name in [*REGISTRY, "index"]}
    assert [name for name, metric in REGISTRY.items() if not metric_pages._note(metric).get("words")] == []


def test_every_operation_of_the_api_is_on_its_page(generators):
    import json

    import api_page

    text = dict(api_page.pages())[api_page.PLACE]
    described = json.loads(api_page.DESCRIPTION.read_text())["paths"]
    headings = set(re.findall(r"^### ([A-Z]+ \S+)$", text, re.MULTILINE))
    assert headings == {f"{method.upper()} {path}" for path, operations in described.items() for method in operations}
