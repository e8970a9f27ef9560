"""Small pictures of a challenge's pages: logo, banner, figures.

What is uploaded is read by Pillow and written anew, so that nothing of the file that came is ever served: no script in an SVG, no HTML
behind a picture's name, no place in a photograph. They are few and small, so they live in the database and are in every backup.
"""

import hashlib
import io
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _
from PIL import Image, ImageOps, UnidentifiedImageError

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotFoundError
from assay.accounts.models import User
from assay.challenges.access import Person, get_challenge
from assay.challenges.definition import SLUG_LETTERS
from assay.challenges.models import Challenge, Picture

READ = ("PNG", "JPEG", "WEBP", "GIF")
LARGEST_UPLOAD = 8 * 2**20
LARGEST_STORED = 2**20
MOST_PIXELS = 40_000_000
LONGEST_SIDE = 1600
MOST_PICTURES = 50


def add_picture(*, challenge: Challenge, name: str, content: bytes, by: User, now: datetime) -> Picture:
    """Keep a picture under a name, in place of the one that had it. Raises InvalidError."""
    if not name or len(name) > 80 or not set(name) <= SLUG_LETTERS:
        raise InvalidError(
            _("A picture needs a name."), found=name[:80], expected=_("a-z, 0-9 and '-', at most 80"), field="name"
        )
    written, content_type, (width, height) = rewritten(content)
    with transaction.atomic():
        Challenge.objects.select_for_update(no_key=True).get(pk=challenge.pk)
        others = challenge.pictures.exclude(name=name).count()
        if others >= MOST_PICTURES:
            raise ConflictError(
                _("The challenge has as many pictures as it may have."),
                found=str(others),
                expected=_("at most %(most)s") % {"most": MOST_PICTURES},
                what_to_do=_("Remove one first."),
            )
        picture, _is_new = Picture.objects.update_or_create(
            challenge=challenge,
            name=name,
            defaults={
                "content": written,
                "content_type": content_type,
                "width": width,
                "height": height,
                "sha256": hashlib.sha256(written).hexdigest(),
                "added_at": now,
            },
        )
        record_event(
            actor=by, verb="challenge.picture_added", subject=picture, challenge_slug=challenge.slug, now=now, name=name
        )
    return picture


def remove_picture(*, challenge: Challenge, name: str, by: User, now: datetime) -> None:
    """Forget a picture. Texts that name it show its words instead."""
    with transaction.atomic():
        picture = challenge.pictures.filter(name=name).first()
        if picture is None:
            raise NotFoundError(_("There is no such picture."), found=name[:80])
        record_event(
            actor=by,
            verb="challenge.picture_removed",
            subject=picture,
            challenge_slug=challenge.slug,
            now=now,
            name=name,
        )
        picture.delete()


def get_picture(*, person: Person, slug: str, name: str) -> Picture:
    """A picture of a challenge that this person may know of."""
    picture = get_challenge(person=person, slug=slug).pictures.filter(name=name).first()
    if picture is None:
        raise NotFoundError(_("There is no such picture."), found=name[:80])
    return picture


def rewritten(content: bytes) -> tuple[bytes, str, tuple[int, int]]:
    """The picture in our own writing: its bytes, its type, and its width and height. Raises InvalidError."""
    if len(content) > LARGEST_UPLOAD:
        raise InvalidError(
            _("The picture is too large."),
            found=_("%(size)s MiB") % {"size": len(content) // 2**20},
            expected=_("at most %(most)s MiB") % {"most": LARGEST_UPLOAD // 2**20},
            field="picture",
        )
    try:
        with Image.open(io.BytesIO(content), formats=READ) as opened:
            if opened.width * opened.height > MOST_PIXELS:  # known from its head, before anything is unpacked
                raise InvalidError(
                    _("The picture has too many pixels."),
                    found=f"{opened.width} × {opened.height}",
                    expected=_("at most %(most)s million") % {"most": MOST_PIXELS // 1_000_000},
                    field="picture",
                )
            picture = ImageOps.exif_transpose(opened)
            picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            has_alpha = "A" in picture.getbands() or "transparency" in picture.info
            picture = picture.convert("RGBA" if has_alpha else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # known from its head, too
        raise InvalidError(
            _("The picture has too many pixels."),
            found=str(error)[:80],
            expected=_("at most %(most)s million") % {"most": MOST_PIXELS // 1_000_000},
            field="picture",
        ) from error
    except UnidentifiedImageError:
        raise InvalidError(
            _("The file is no picture that we read."),
            expected="PNG, JPEG, WebP, GIF",
            what_to_do=_("Save it as PNG."),
            field="picture",
        ) from None
    except (OSError, ValueError, SyntaxError) as error:  # what decoders raise for broken files
        raise InvalidError(_("The picture cannot be read."), found=str(error)[:80], field="picture") from error
    return (*encoded(picture), picture.size)


def encoded(picture: Image.Image) -> tuple[bytes, str]:
    """As PNG where that is small enough, else as JPEG on white."""
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    if out.tell() <= LARGEST_STORED // 2:
        return out.getvalue(), "image/png"
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    for quality in (85, 60, 35):
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, optimize=True)
        if out.tell() <= LARGEST_STORED:
            break
    return out.getvalue(), "image/jpeg"
