"""Pictures of a challenge's pages: written anew, limited, and served as nothing but pictures."""

import io

import numpy as np
import pytest
from django.urls import reverse
from PIL import Image

import factories
from assay.accounts.errors import InvalidError
from assay.challenges import pictures
from assay.challenges.models import Challenge

SCRIPT = b"<script>alert(1)</script>"


def encoded(kind: str = "PNG", *, size=(40, 20), mode="RGB", **options) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, "red").save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_nothing_of_the_file_that_came_is_kept(kind):
    content, content_type, size = pictures.rewritten(encoded(kind) + SCRIPT)
    assert (content_type, size) == ("image/png", (40, 20))
    assert SCRIPT not in content
    assert content.startswith(b"\x89PNG")


def test_where_a_photograph_was_taken_is_not_kept_and_it_stands_upright():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera of a hospital"  # turned by a quarter
    content, _type, size = pictures.rewritten(encoded("JPEG", exif=exif))
    assert size == (20, 40)
    assert b"Camera" not in content


def test_a_large_photograph_becomes_a_small_jpeg():
    noise = np.random.default_rng(1).integers(0, 255, (2000, 2400, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    content, content_type, size = pictures.rewritten(out.getvalue())
    assert content_type == "image/jpeg"
    assert max(size) == pictures.LONGEST_SIDE
    assert len(content) <= 2 * pictures.LARGEST_STORED


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "no picture that we read"),
        (b"<html>" + SCRIPT, "no picture that we read"),
        (b"", "no picture that we read"),
        (encoded()[:60], "cannot be read"),
        (encoded("TIFF"), "no picture that we read"),
        (b"\0" * (pictures.LARGEST_UPLOAD + 1), "too large"),
    ],
    ids=["svg", "html", "nothing", "cut off", "tiff", "too many bytes"],
)
def test_what_is_no_picture_is_refused(content, says):
    with pytest.raises(InvalidError, match=says):
        pictures.rewritten(content)


def test_too_many_pixels_are_refused_before_they_are_unpacked():
    with pytest.raises(InvalidError, match="too many pixels"):
        pictures.rewritten(encoded(size=(20_000, 20_000), mode="1"))


@pytest.fixture
def picture(scene, now):
    return pictures.add_picture(challenge=scene.challenge, name="logo", content=encoded(), by=scene.olga, now=now)


def test_a_picture_is_served_as_a_picture_and_nothing_else(picture, client):
    answer = client.get(reverse("portal:picture", args=["brains", "logo"]))
    assert answer["Content-Type"] == "image/png"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert client.get(answer.request["PATH_INFO"], headers={"If-None-Match": answer["ETag"]}).status_code == 304


def test_pictures_of_a_draft_are_not_there_for_strangers(picture, scene, client):
    Challenge.objects.update(status="draft")
    address = reverse("portal:picture", args=["brains", "logo"])
    assert client.get(address).status_code == 404
    client.force_login(scene.olga)
    assert client.get(address).status_code == 200


def test_another_picture_takes_the_name_and_so_many_are_enough(picture, scene, now, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PICTURES", 1)
    pictures.add_picture(challenge=scene.challenge, name="logo", content=encoded(size=(8, 8)), by=scene.olga, now=now)
    assert [(row.width, row.height) for row in scene.challenge.pictures.all()] == [(8, 8)]
    with pytest.raises(pictures.ConflictError, match="as many pictures as it may have"):
        pictures.add_picture(challenge=scene.challenge, name="banner", content=encoded(), by=scene.olga, now=now)


def test_a_text_shows_pictures_of_its_own_challenge_wherever_it_moves(scene, picture, client):
    Challenge.objects.filter(pk=scene.challenge.pk).update(
        description_html=factories.render_markdown(
            "![Our logo](picture:logo) ![no](picture:../../x) ![far](https://example.org/x.png)"
        )
    )
    page = client.get(reverse("portal:challenge", args=["brains"])).content.decode()
    assert 'src="/c/brains/pictures/logo/"' in page
    assert "../../x" not in page
    Challenge.objects.filter(pk=scene.challenge.pk).update(slug="moved")
    assert 'src="/c/moved/pictures/logo/"' in client.get(reverse("portal:challenge", args=["moved"])).content.decode()
