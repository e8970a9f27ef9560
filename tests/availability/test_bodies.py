"""Nobody fills the disk with a form: what is too large is refused by its length, before a byte of it is read or written."""

from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from assay.submissions import space

pytestmark = pytest.mark.django_db
ANNOUNCED = 10 * 2**30


class Unread(BytesIO):
    """A body that must not be touched."""

    def read(self, *_):
        raise AssertionError("the body was read")


def send(client, address, *, announced=ANNOUNCED):
    """A form of which only the length is there."""
    client.raise_request_exception = True
    return client.generic(
        "POST",
        address,
        b"",
        CONTENT_TYPE="multipart/form-data; boundary=b",  # the client says neither of an empty body
        CONTENT_LENGTH=str(announced),
        **{"wsgi.input": Unread()},
    )


@pytest.mark.parametrize("address", ["/login/", "/organize/", "/api/v1/tokens", "/join/", "/c/brains/p/final/submit/"])
def test_a_large_form_of_somebody_unknown_is_never_read(scene, address):
    answer = send(Client(enforce_csrf_checks=True), address)
    assert answer.status_code in (404, 413)
    assert answer.status_code == 413 or address == "/join/"


def test_pages_that_take_no_files_take_none_of_people_who_are_signed_in(scene, client):
    client.force_login(scene.olga)
    for address in (reverse("organizers:new"), reverse("organizers:people", args=["brains"])):
        answer = send(client, address)
        assert answer.status_code == 413
        assert "too large" in answer.text


def test_a_file_that_the_disk_cannot_take_is_refused_before_it_is_sent(scene, client, monkeypatch):
    client.force_login(scene.olga)
    monkeypatch.setattr(space, "free_bytes", lambda **_: ANNOUNCED - 1)
    answer = send(client, reverse("organizers:testsets", args=["brains"]))
    assert answer.status_code == 507


def test_no_page_takes_more_than_an_upload_may_hold(scene, client, settings):
    client.force_login(scene.olga)
    assert send(client, reverse("organizers:testsets", args=["brains"]), announced=10**19).status_code == 413


def test_a_form_with_a_file_of_usual_size_goes_through(scene, client):
    client.force_login(scene.olga)
    file = SimpleUploadedFile("challenge.yaml", b"slug: [")
    answer = client.post(reverse("organizers:new"), {"file": file})
    assert "cannot be read" in answer.text


def test_a_challenge_file_in_the_form_is_read_no_further_than_one_may_be_long(scene, client):
    client.force_login(scene.olga)
    file = SimpleUploadedFile("challenge.yaml", b"a" * (3 * 2**20))
    answer = client.post(reverse("organizers:new"), {"file": file})
    assert "The file is too long" in answer.text
    assert "1048577 bytes" in answer.text
