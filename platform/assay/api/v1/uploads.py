"""Resumable uploads by tus 1.0 (creation, checksum, termination, expiration): any tus client works, and so does `curl`.

POST   /uploads        Upload-Length, Upload-Metadata: filename, purpose (image | predictions | testset | model | code | wheels), sha256
HEAD   /uploads/{id}   → Upload-Offset
PATCH  /uploads/{id}   Upload-Offset, Upload-Checksum: sha256 … (optional), the bytes
DELETE /uploads/{id}
"""

import base64
import binascii
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.http import http_date
from django.utils.translation import gettext
from ninja import Router

from assay.accounts.errors import InvalidError
from assay.accounts.numbers import whole_number
from assay.api.auth import user_of
from assay.api.v1 import schemas
from assay.submissions import uploads
from assay.submissions.access import get_upload
from assay.submissions.models import Upload
from assay.submissions.selectors import unfinished_uploads

router = Router()
TUS_VERSION = "1.0.0"
CONTENT_TYPE = "application/offset+octet-stream"


@router.get("", response=list[schemas.UploadOut])
def list_uploads(request: HttpRequest) -> list[dict[str, Any]]:
    """Your unfinished uploads, from any device."""
    return [document(upload) for upload in unfinished_uploads(user=user_of(request), now=timezone.now())]


@router.api_operation(["OPTIONS"], "", auth=None, include_in_schema=False)
def describe(request: HttpRequest) -> HttpResponse:
    """What this tus server can do."""
    return tus_response(
        status=204,
        headers={
            "Tus-Version": TUS_VERSION,
            "Tus-Extension": "creation,checksum,termination,expiration",
            "Tus-Checksum-Algorithm": "sha256",
        },
    )


@router.post("", response={201: None}, openapi_extra=schemas.LOCATION)
def start(request: HttpRequest) -> HttpResponse:
    """Open an upload. The answer's `Location` is where its bytes go."""
    metadata = parse_metadata(request.headers.get("Upload-Metadata", ""))
    upload = uploads.start_upload(
        user=user_of(request),
        filename=metadata.get("filename", ""),
        purpose=metadata.get("purpose", ""),
        expected_sha256=metadata.get("sha256", ""),
        total_bytes=byte_count(request, name="Upload-Length"),
        now=timezone.now(),
    )
    return tus_response(status=201, upload=upload, headers={"Location": f"{request.path.rstrip('/')}/{upload.pk}"})


@router.api_operation(["HEAD"], "/{upload_id}", include_in_schema=False)
def offset(request: HttpRequest, upload_id: UUID) -> HttpResponse:
    """Where to go on."""
    upload = get_upload(person=user_of(request), upload_id=upload_id)
    return tus_response(status=200, upload=upload, headers={"Upload-Length": str(upload.total_bytes)})


@router.patch("/{upload_id}", response={204: None})
def append(request: HttpRequest, upload_id: UUID) -> HttpResponse:
    """Add a piece."""
    upload = get_upload(person=user_of(request), upload_id=upload_id)
    if request.content_type != CONTENT_TYPE:
        raise InvalidError(
            gettext("The piece has the wrong type."), found=str(request.content_type), expected=CONTENT_TYPE
        )
    upload = uploads.append(
        upload=upload,
        offset_bytes=byte_count(request, name="Upload-Offset"),
        stream=request,  # type: ignore[arg-type]  # a request reads like a file
        length_bytes=whole_number(request.headers.get("Content-Length", "")),
        sha256=parse_checksum(request.headers.get("Upload-Checksum", "")),
        now=timezone.now(),
    )
    return tus_response(status=204, upload=upload)


@router.delete("/{upload_id}", response={204: None})
def cancel(request: HttpRequest, upload_id: UUID) -> HttpResponse:
    """Throw an unfinished upload away."""
    user = user_of(request)
    uploads.cancel_upload(upload=get_upload(person=user, upload_id=upload_id), user=user, now=timezone.now())
    return tus_response(status=204)


def tus_response(*, status: int, upload: Upload | None = None, headers: dict[str, str] | None = None) -> HttpResponse:
    """An empty answer with tus's headers."""
    fields = {"Tus-Resumable": TUS_VERSION, "Cache-Control": "no-store", **(headers or {})}
    if upload is not None:
        fields["Upload-Offset"] = str(upload.offset_bytes)
        if upload.completed_at is None:
            fields["Upload-Expires"] = http_date(upload.expires_at.timestamp())
    return HttpResponse(status=status, headers=fields)


def byte_count(request: HttpRequest, *, name: str) -> int:
    """A header that counts bytes."""
    value = request.headers.get(name, "")
    count = whole_number(value)
    if count is None:
        raise InvalidError(
            gettext("The header %(name)s is missing or no number.") % {"name": name},
            found=value[:40],
            expected=gettext("a count of bytes"),
        )
    return count


def parse_metadata(header: str) -> dict[str, str]:
    """`name base64, name base64, …` as tus writes it."""
    pairs = [pair.split() for pair in header.split(",") if pair.strip()]
    try:
        return {pair[0]: base64.b64decode(pair[1], validate=True).decode() if len(pair) > 1 else "" for pair in pairs}
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidError(
            gettext("Upload-Metadata cannot be read."), found=header[:80], expected=gettext("name base64,name base64")
        ) from error


def parse_checksum(header: str) -> bytes | None:
    """`sha256 base64`. Nothing when no checksum came."""
    if not header:
        return None
    algorithm, _, encoded = header.partition(" ")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        digest = b""
    if algorithm != "sha256" or len(digest) != 32:
        raise InvalidError(
            gettext("Upload-Checksum cannot be used."), found=header[:80], expected=gettext("sha256 <base64>")
        )
    return digest


def document(upload: Upload) -> dict[str, Any]:
    """An upload as the API shows it."""
    return {
        "id": upload.pk,
        "filename": upload.filename,
        "purpose": upload.purpose,
        "total_bytes": upload.total_bytes,
        "offset_bytes": upload.offset_bytes,
        "sha256": upload.sha256 or upload.expected_sha256,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "is_complete": upload.completed_at is not None,
    }
