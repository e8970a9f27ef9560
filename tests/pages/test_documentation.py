"""`/docs/` serves the built site and nothing outside its folder."""

import pytest
from django.http import Http404

from assay.portal.views.documentation import find

pytestmark = pytest.mark.django_db


@pytest.fixture
def built(tmp_path, settings):
    """A site of two files, a secret beside it, and a link that leads out."""
    folder = tmp_path / "docs"
    (folder / "_static").mkdir(parents=True)
    (folder / "index.html").write_text("<html><script>theme()</script><p>Assay</p></html>")
    (folder / "_static" / "assay.css").write_text("p {}")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    settings.DOCS_FOLDER = folder
    return folder


def test_the_first_page_is_served_with_a_policy_for_its_own_scripts(client, built):
    answer = client.get("/docs/")
    assert b"Assay" in answer.content
    assert "script-src 'self' 'sha256-" in answer["Content-Security-Policy"]
    assert "unsafe-inline'" not in answer["Content-Security-Policy"].split("script-src")[1]


def test_a_style_sheet_keeps_its_type(client, built):
    answer = client.get("/docs/_static/assay.css")
    assert answer["Content-Type"] == "text/css"
    assert b"".join(answer.streaming_content) == b"p {}"


@pytest.mark.parametrize(
    "page",
    [
        "../secret.txt",
        "_static/../../secret.txt",
        "/etc/passwd",
        "out.txt",
        "_static",
        "absent.html",
        "a\0b",
        "x" * 5000,
    ],
)
def test_nothing_but_files_of_the_site_is_found(built, page):
    with pytest.raises(Http404):
        find(built, page)


@pytest.mark.parametrize("page", ["%2e%2e/secret.txt", "..%2fsecret.txt", "out.txt", "_static/", "absent.html"])
def test_a_request_for_anything_else_is_not_found(client, built, page):
    assert client.get(f"/docs/{page}").status_code == 404


def test_where_the_site_is_not_built_the_page_says_how(client, settings, tmp_path):
    settings.DOCS_FOLDER = tmp_path / "nothing"
    answer = client.get("/docs/")
    assert answer.status_code == 404
    assert b"make docs" in answer.content
