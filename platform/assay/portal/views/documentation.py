"""The documentation that `make docs` built, served at `/docs/` from its folder."""

import base64
import hashlib
import mimetypes
import re
from pathlib import Path

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from assay.pages.middleware import POLICY

INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


@require_safe
def documentation(request: HttpRequest, page: str = "") -> HttpResponseBase:
    """One file of the site. A page that says how to build it where there is none."""
    folder = Path(settings.DOCS_FOLDER)
    if not (folder / "index.html").is_file():
        return render(request, "portal/docs_missing.html", status=404)
    path = find(folder, page or "index.html")
    if path.suffix == ".html":
        return _html(path.read_bytes())
    kind, _ = mimetypes.guess_type(path.name)
    return FileResponse(path.open("rb"), content_type=kind or "application/octet-stream")


def find(folder: Path, page: str) -> Path:
    """The file a request names. Raises `Http404` for anything that is not a regular file below the folder."""
    root = folder.resolve()
    try:
        path = (root / page).resolve(strict=True)
    except (OSError, ValueError):  # absent, too long a name, a NUL character
        raise Http404 from None
    if not path.is_relative_to(root) or not path.is_file():
        raise Http404
    return path


def _html(content: bytes) -> HttpResponse:
    """A page. Its policy names the few scripts that stand in the page itself, so that no other one runs."""
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in INLINE_SCRIPT.findall(content)]
    scripts = " ".join(["script-src 'self'", *(f"'sha256-{digest}'" for digest in hashes)])
    return HttpResponse(content, headers={"Content-Security-Policy": f"{POLICY}; {scripts}"})
