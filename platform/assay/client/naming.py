"""How people name a submission: by its number, by the address of its page, or by its id."""

import re
from typing import Any

from assay.client.errors import ClientError
from assay.client.http import Connection
from assay.client.session import split_phase

NUMBER = re.compile(r"(?:(?P<phase>[^#\s]+/[^#\s]+)#|#?)(?P<number>[0-9]{1,9})")
ADDRESS = re.compile(r"https?://\S*/s/(?P<id>[^/\s]+)/?")
PAGE = 100
EXPECTED = "its number such as 7, CHALLENGE/PHASE#7, the address of its page, or its id"


def submission_id(text: str, *, connection: Connection) -> str:
    """The id of the submission that `text` names. A number alone is one of the person's own. Raises ClientError."""
    if address := ADDRESS.fullmatch(text):
        return address["id"]
    named = NUMBER.fullmatch(text)
    if named is None:
        return text
    found = _numbered(int(named["number"]), phase=named["phase"] or "", connection=connection)
    if len(found) == 1:
        return str(found[0]["id"])
    if not found:
        whose = f"in {named['phase']}" if named["phase"] else "among yours"
        raise ClientError(
            f"There is no submission {text} {whose}", expected=EXPECTED, what_to_do="`assay status` lists yours"
        )
    places = ", ".join(sorted({f"{row['challenge']}/{row['phase']}#{row['number']}" for row in found}))
    raise ClientError(f"{text} names several submissions", found=places, what_to_do="give one of these, quoted")


def _numbered(number: int, *, phase: str, connection: Connection) -> list[dict[str, Any]]:
    """Submissions with this number: numbers count within a phase."""
    challenge, slug = split_phase(phase) if phase else (None, None)
    mine = None if phase else "true"
    found: list[dict[str, Any]] = []
    seen = 0
    while True:
        page = connection.get("submissions", challenge=challenge, phase=slug, mine=mine, limit=PAGE, offset=seen)
        found += [row for row in page["items"] if row["number"] == number]
        seen += len(page["items"])
        if not page["items"] or seen >= page["count"]:
            return found
