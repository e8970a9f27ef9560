"""The archive that came with a form."""

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.accounts.identifiers import identifier
from assay.challenges.access import signed_in
from assay.submissions import uploads
from assay.submissions.access import get_upload
from assay.submissions.models import Upload


def uploaded_archive(request: HttpRequest, *, purpose: Upload.Purpose, expected: str) -> Upload:
    """Sent before in pieces, or, without JavaScript, with this form."""
    user, now, file = signed_in(request.user), timezone.now(), request.FILES.get("archive")
    if request.POST.get("upload_id") and file is None:
        return get_upload(person=user, upload_id=identifier(request.POST["upload_id"]))
    if file is None:
        raise InvalidError(
            _("No archive was chosen."), expected=expected, what_to_do=_("Choose a file."), field="archive"
        )
    upload = uploads.start_upload(
        user=user, filename=file.name or "archive.tar", purpose=purpose, total_bytes=file.size or 0, now=now
    )
    return uploads.append(upload=upload, offset_bytes=0, stream=file, now=now)
