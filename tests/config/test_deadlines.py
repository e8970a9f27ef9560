"""A request ends when it computes for too long, or when nobody waits for it. And no other request ends with it."""

import socket
import threading
import time
from contextlib import suppress

import pytest

from assay.config.deadlines import TAKES_LONG, Deadlines, RequestOver, has_gone

LIMIT_SECONDS = 0.3
MARGIN_SECONDS = 30  # the machine may be busy


def compute(seconds):
    """Use a processor for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def environ(method="GET", **more):
    return {"REQUEST_METHOD": method, "PATH_INFO": "/", **more}


def answered(application, asked, *, limit=LIMIT_SECONDS):
    """The status line and the body."""
    said = []
    body = b"".join(Deadlines(application, limit_seconds=limit)(asked, lambda status, headers: said.append(status)))
    return said[0], body


def computes(seconds):
    def application(asked, start_response):
        compute(seconds)
        start_response("200 OK", [])
        return [b"done"]

    return application


def test_a_short_request_is_answered():
    assert answered(computes(0), environ()) == ("200 OK", b"done")


@pytest.mark.django_db
def test_one_that_computes_for_too_long_is_ended_and_says_so():
    status, body = answered(computes(MARGIN_SECONDS), environ())
    assert status.startswith("503")
    assert b"longer" in body


@pytest.mark.django_db
def test_code_that_survives_errors_does_not_survive_the_end():
    def stubborn(asked, start_response):
        with suppress(Exception):
            compute(MARGIN_SECONDS)
        start_response("200 OK", [])
        return [b"done"]

    assert answered(stubborn, environ())[0].startswith("503")


def test_one_that_only_waits_may_wait():
    def waits(asked, start_response):
        time.sleep(LIMIT_SECONDS * 4)
        start_response("200 OK", [])
        return [b"done"]

    assert answered(waits, environ())[0] == "200 OK"


def test_one_that_checks_an_archive_may_compute():
    assert answered(computes(LIMIT_SECONDS * 4), environ("POST", **{TAKES_LONG: True}))[0] == "200 OK"


@pytest.fixture
def connection():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_who_is_there_is_not_gone(connection):
    ours, theirs = connection
    assert not has_gone(ours)
    theirs.send(b"GET /next")
    assert not has_gone(ours)
    theirs.close()
    assert not has_gone(ours)  # what they sent is still to be read
    ours.recv(100)
    assert has_gone(ours)


@pytest.mark.django_db
def test_a_reader_who_goes_ends_the_request(connection):
    ours, theirs = connection
    threading.Timer(LIMIT_SECONDS, theirs.close).start()
    asked = environ(**{"gunicorn.socket": ours})
    assert answered(computes(MARGIN_SECONDS), asked, limit=MARGIN_SECONDS * 2)[0].startswith("503")


def test_a_writer_who_goes_is_still_served(connection):
    ours, theirs = connection
    theirs.close()
    assert answered(computes(0), environ("POST", **{"gunicorn.socket": ours}))[0] == "200 OK"


def test_a_reader_who_has_gone_before_it_began_is_not_computed_for(connection):
    ours, theirs = connection
    theirs.close()
    began = []
    status, _ = answered(lambda *asked: began.append(asked), environ(**{"gunicorn.socket": ours}))
    assert (status[:3], began) == ("408", [])


@pytest.mark.django_db
def test_a_request_after_one_that_was_ended_is_left_alone():
    server = Deadlines(computes(0), limit_seconds=LIMIT_SECONDS)
    server.application = computes(MARGIN_SECONDS)
    assert list(server(environ(), lambda *line: None)) != [b"done"]
    server.application = computes(0)
    for _ in range(200):
        assert list(server(environ(), lambda *line: None)) == [b"done"]


def test_the_end_is_no_error():
    assert not issubclass(RequestOver, Exception)
