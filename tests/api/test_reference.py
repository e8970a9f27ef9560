"""The reference page names every operation and loads nothing from anywhere."""

import re

from django.test import Client

from assay.api.v1.router import api


def test_the_page_names_every_operation(db):
    answer = Client().get("/api/v1/docs")
    assert answer.status_code == 200
    page = answer.content.decode()
    paths = list(api.get_openapi_schema()["paths"])
    assert len(paths) > 30
    assert [path for path in paths if path not in page] == []
    assert re.search(r"<code>upload_id</code>\s*</dt>\s*<dd>\s*uuid, required", page)


def test_the_page_loads_nothing_and_runs_nothing(db):
    page = Client().get("/api/v1/docs").content.decode()
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="([^"]+)"', page) == ["openapi.json"]


def test_the_description_says_where_nobody_needs_to_sign_in():
    description = api.get_openapi_schema()
    assert {} in description["paths"]["/api/v1/challenges"]["get"]["security"]
    assert {} not in description["paths"]["/api/v1/submissions"]["get"]["security"]
    assert "Nobody" not in description["components"]["securitySchemes"]
