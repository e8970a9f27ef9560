"""A NUL character in an address or a form is refused before anybody asks the database about it."""

import pytest


@pytest.mark.parametrize(
    "address",
    ["/api/v1/challenges/a%00b", "/api/v1/challenges?search=%00", "/api/v1/submissions?phase=a%00", "/?q=%00&%00=1"],
)
def test_an_address_with_nul_is_refused(client, db, address):
    answer = client.get(address)
    assert answer.status_code == (422 if address.startswith("/api/") else 400)
    assert "NUL" in answer.content.decode()


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_with_nul_is_refused(client, scene, kind):
    client.force_login(scene.olga)
    fields = {"name": "a\0b", "title": "x", "phase": "final"}
    form = (
        {"data": fields} if kind.startswith("multipart") else {"data": "name=a%00b&phase=final", "content_type": kind}
    )
    assert client.post("/c/brains/manage/sites/", **form).status_code == 400
    assert scene.phase.evaluation_sites.count() == 0
