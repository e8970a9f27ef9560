"""A site joins, changes its key and leaves: the same three acts as on the server, from the site's side."""

import hashlib

from assay.client.errors import ClientError, RefusedError
from assay.client.http import Connection
from assay.node.site_home import SiteHome, SiteSettings, network_environment
from assay.signatures import public_key_text, signed

LONGEST_CODE = 60
READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": "", " ": ""})


def join(home: SiteHome, *, code: str, connection: Connection) -> SiteSettings:
    """Make the key pair here, send its public half with the code, and write down what the server answers."""
    plain = code.upper().translate(READ_AS).strip()
    if not plain.isascii() or not plain.isalnum() or len(plain) > LONGEST_CODE:
        raise ClientError(
            "This is no code",
            found=repr(code[:LONGEST_CODE]),
            expected="letters and digits with hyphens between, as the organizers wrote it down",
            what_to_do="copy it anew, or ask the organizers for another one",
        )
    digest = hashlib.sha256(plain.encode()).hexdigest()
    said = signed({"joins_with": digest}, key=home.key())
    try:
        answer = connection.post("site/join", {"code": code.strip(), "said": said})
    except RefusedError:
        if home.settings is None:  # nobody knows the key: leave nothing of a try that failed
            home.forget()
        raise
    settings = SiteSettings(
        url=connection.url,
        name=answer["name"],
        title=answer["title"],
        challenge=answer["challenge"],
        phase=answer["phase"],
        token=answer["token"],
        server_key=answer["server_key"],
        environment=network_environment(),
    )
    home.keep(settings)
    return settings


def rotate_key(home: SiteHome, *, connection: Connection) -> str:
    """Replace the site's key. Both keys sign. Returns the new six words. A break in between is mended by doing it again."""
    old, new = home.key(), home.next_key()
    known = connection.get("site/about")["public_key"]
    if known != public_key_text(new):
        proof = signed({"replaces": public_key_text(old)}, key=new)
        connection.post(
            "site/key", {"said": signed({"next_public_key": public_key_text(new), "proof": proof}, key=old)}
        )
    home.take_next_key()
    return home.words()


def leave(home: SiteHome, *, reason: str, connection: Connection) -> None:
    """Tell the server, then forget the key and the token."""
    connection.post("site/leave", {"reason": reason})
    home.forget()
