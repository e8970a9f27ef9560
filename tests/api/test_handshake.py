"""Versions that meet: what the server says of itself, whom it refuses, and what it makes of headers nobody can read."""

import pytest
from django.test import Client

from assay.handshake import (
    API_LEVEL,
    CLIENT_HEADER,
    LOWEST_SERVED,
    SERVER_HEADER,
    Peer,
    client_header,
    may_be_too_old,
    server_header,
    server_of,
    why_client_is_refused,
    why_server_is_refused,
)


@pytest.mark.parametrize("path", ["/api/v1/challenges", "/api/v1/me", "/api/v1/nothing", "/api/v1/node/claim"])
def test_every_answer_of_the_api_says_who_the_server_is(db, path):
    assert Client().get(path)[SERVER_HEADER] == server_header()


def test_pages_say_nothing_of_versions(db):
    assert SERVER_HEADER not in Client().get("/")


def test_what_each_side_says_is_read_by_the_other():
    program = Peer.parse(client_header("node")[CLIENT_HEADER])
    assert (program.name, program.level) == ("node", API_LEVEL)
    server = server_of(server_header())
    assert (server.level, server.lowest) == (API_LEVEL, LOWEST_SERVED)
    assert not why_client_is_refused(program)
    assert not why_server_is_refused(server, program="node")
    assert not may_be_too_old(server)


def test_parameters_of_a_later_version_are_ignored():
    assert Peer.parse("node/9.1.0; api=12; colour=green") == Peer(name="node", version="9.1.0", level=12)


@pytest.mark.parametrize("header", [None, "", "nginx", "assay/x y; api=1"])
def test_a_server_that_says_nothing_that_can_be_read_is_of_the_first_version(header):
    assert server_of(header).level == 1
    assert "the first version of Assay, API level 1" in may_be_too_old(server_of(header))


@pytest.mark.parametrize(
    "header", ["", "node", "node/1", "node/1; api=0", "node/1; api=x", "node/1; api=1" + "0" * 300]
)
def test_a_header_that_cannot_be_read_is_refused_with_the_form_to_use(db, header):
    answer = Client().get("/api/v1/challenges", headers={CLIENT_HEADER: header})
    assert answer.status_code == 422
    assert "node/0.1.0; api=2" in answer.json()["error"]["expected"]


@pytest.fixture
def serving_later_levels_only(monkeypatch):
    monkeypatch.setattr("assay.handshake.LOWEST_SERVED", 4)


@pytest.mark.parametrize(
    ("path", "headers", "who", "level"),
    [
        ("/api/v1/node/claim", {CLIENT_HEADER: "node/0.2.0; api=3"}, "the node", 3),
        ("/api/v1/node/claim", {}, "the node", 1),
        ("/api/v1/site/about", {CLIENT_HEADER: "site/0.2.0; api=3"}, "the site agent", 3),
        ("/api/v1/site/about", {}, "the site agent", 1),
        ("/api/v1/challenges", {CLIENT_HEADER: "cli/0.2.0; api=3"}, "the `assay` command", 3),
        ("/api/v1/challenges", {"User-Agent": "assay-client"}, "the `assay` command", 1),
        ("/api/v1/challenges", {CLIENT_HEADER: "python/0.2.0; api=2"}, "the Python client", 2),
        ("/api/v1/challenges", {CLIENT_HEADER: "theirs/1; api=2"}, "theirs", 2),
    ],
)
@pytest.mark.usefixtures("serving_later_levels_only")
def test_a_program_that_is_too_old_is_told_in_one_sentence_what_to_upgrade(path, headers, who, level):
    answer = Client().post(path, headers=headers)  # no database: nothing is looked up for a program that is not served
    assert answer.status_code == 426
    assert answer[SERVER_HEADER].endswith("lowest=4")
    error = answer.json()["error"]
    assert error["code"] == "upgrade_needed"
    assert error["message"].startswith(f"Upgrade {who}: it speaks API level {level}, this server (Assay ")
    assert error["message"].endswith(") serves level 4 and later.")


@pytest.mark.parametrize("headers", [{}, {"User-Agent": "curl/8.0"}, {CLIENT_HEADER: "cli/0.5.0; api=4"}])
@pytest.mark.usefixtures("serving_later_levels_only")
def test_browsers_scripts_and_new_programs_are_served(db, headers):
    assert Client().get("/api/v1/challenges", headers=headers).status_code == 200
