"""Charts in a browser: drawn from the page's own data, as wide as the page is now."""

import json
from pathlib import Path

import pytest

import assay.pages
from chromium import needs_chromium, running_chromium

STATIC = Path(assay.pages.__file__).parent / "static"
CHART = {"x_label": "seconds", "y_label": "MB", "series": ["memory"], "data": [[0, 1, 2], [10, 30, 20]]}
PAGE = f"""<!doctype html><link rel="stylesheet" href="file://{STATIC}/pages/assay.css">
<link rel="stylesheet" href="file://{STATIC}/vendor/uPlot.min.css"><script src="file://{STATIC}/vendor/uPlot.iife.min.js"></script>
<body><script type="application/json" id="memory">{json.dumps(CHART)}</script><div class="chart" data-chart="memory"></div>
<script src="file://{STATIC}/pages/assay.js"></script>"""


@pytest.mark.browser
@needs_chromium
def test_a_chart_follows_the_width_of_the_window(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(PAGE)
    with running_chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.goto(f"file://{tmp_path}/page.html")
        for width in (1200, 500, 900):
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_function(
                "() => document.querySelector('.uplot').clientWidth === document.querySelector('.chart').clientWidth"
            )
            assert width - 100 < page.evaluate("document.querySelector('.uplot').clientWidth") <= width
        assert page.evaluate("document.querySelectorAll('.uplot').length") == 1
