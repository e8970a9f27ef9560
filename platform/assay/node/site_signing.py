"""What a site signs, and what it demands of the server's signatures: orders, receipts, terms. The server's key was compared by words."""

import base64
import hashlib
import json
import secrets
import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from assay.client.errors import ClientError
from assay.node.joining import write_config
from assay.node.site_home import SiteHome
from assay.node.site_problems import read_kept
from assay.sealing import kept_sealing_key
from assay.signatures import SignatureInvalid, check_signature, document_hash, signed

ORDER, RECEIPT, TERMS, ACCEPTANCE = (
    "assay-site-order",
    "assay-site-receipt",
    "assay-site-agreement",
    "assay-site-acceptance",
)
AGREEMENT, AGENT, SEALING_KEY = "agreement.json", "agent.id", "site.x25519"


class SiteSigner:
    """Signs for the site in `home`, and checks what the server signed."""

    def __init__(self, home: SiteHome) -> None:
        self._home = home
        self._server_key = home.joined().server_key

    @property
    def agent(self) -> str:
        """Names this installation: the server gives back to it what it held before it was killed, and to no copy of it elsewhere."""
        path = self._home.folder / AGENT
        if not path.exists():
            write_config(path, secrets.token_hex(16))
        words = f"{path.read_text()} {socket.gethostname()} {self._home.folder}"
        return hashlib.sha256(words.encode()).hexdigest()[:32]

    def sign(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document with our signature."""
        return signed(document, key=self._home.key())

    def why_order_is_refused(
        self, order: Mapping[str, Any] | None, *, expected: Mapping[str, Any], now: datetime
    ) -> str:
        """Empty when the order is signed by the server, fits what came with it and what was agreed, and has not ended."""
        if order is None:
            return "it is not signed"
        try:
            check_signature(order, public_key=self._server_key)
        except SignatureInvalid as error:
            return str(error)
        agreed = self.agreed_sha256()
        wanted = {**expected, "kind": ORDER, "agreement_sha256": agreed}
        differing = [name for name, value in wanted.items() if order.get(name) != value]
        if differing:
            return f"it differs in {', '.join(sorted(differing))} from what was agreed or sent with it"
        teams = self.agreed_terms().get("teams", [])
        if teams and order.get("team") not in teams:
            return "its team is none of those that were agreed"
        if datetime.fromisoformat(order["expires_at"]) <= now:
            return f"it ended at {order['expires_at']}; is this machine's clock right?"
        return ""

    def why_receipt_is_refused(self, receipt: Mapping[str, Any] | None, *, release_sha256: str) -> str:
        """Empty when the server signed that it took exactly this release."""
        if receipt is None:
            return "there is none"
        try:
            check_signature(receipt, public_key=self._server_key)
        except SignatureInvalid as error:
            return str(error)
        if receipt.get("kind") != RECEIPT or receipt.get("release_sha256") != release_sha256:
            return "it is about another release"
        return ""

    def why_terms_are_refused(self, terms: Mapping[str, Any], *, data_root: str) -> str:
        """Empty when the server signed these terms, for this site, about the data that was added here."""
        settings = self._home.joined()
        try:
            check_signature(terms, public_key=self._server_key)
        except SignatureInvalid as error:
            return str(error)
        wanted = {
            "kind": TERMS,
            "site": settings.name,
            "challenge": settings.challenge,
            "phase": settings.phase,
            "data_root": data_root,
        }
        differing = [name for name, value in wanted.items() if terms.get(name) != value]
        return f"they differ in {', '.join(differing)} from what this site is" if differing else ""

    def accept(self, terms: Mapping[str, Any]) -> dict[str, Any]:
        """Sign these terms, and keep them. The public key to which images on a stick are sealed goes with it."""
        sealed_to = base64.b64encode(self.sealing_key().public_key().public_bytes_raw()).decode()
        said = self.sign({"kind": ACCEPTANCE, "terms_sha256": document_hash(terms), "sealing_key": sealed_to})
        write_config(self._home.folder / AGREEMENT, json.dumps({"terms": dict(terms), "said": said}, indent=2) + "\n")
        return said

    def sealing_key(self) -> X25519PrivateKey:
        """The private key for images that travel on a stick, made here at the first use. It never leaves this folder."""
        return kept_sealing_key(self._home.folder / SEALING_KEY)

    def agreed_sha256(self) -> str:
        """The hash of the terms that were signed here. Raises ClientError where none were."""
        return document_hash(self.agreed_terms())

    def agreed_terms(self) -> Mapping[str, Any]:
        """The terms that were signed here. Raises ClientError where none were."""
        try:
            kept = read_kept(self._home.folder / AGREEMENT, remedy="assay site agree")
        except FileNotFoundError:
            raise ClientError("This site has signed no terms yet", what_to_do="assay site agree") from None
        terms: Mapping[str, Any] = kept["terms"]
        return terms


def released_files(folder: Path) -> list[Path]:
    """What was released from here, with receipts, oldest first."""
    return sorted((folder / "releases").glob("*.released"), key=lambda path: path.stat().st_mtime)


def decided_files(folder: Path) -> list[Path]:
    """Every result that was decided here, released, recalled or declined, oldest first."""
    found = [
        path for ending in ("released", "recalled", "declined") for path in (folder / "releases").glob(f"*.{ending}")
    ]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def released_roots(folder: Path) -> set[str]:
    """The roots of data that results were released on from here, recalled ones too: what was once read stays read."""
    papers = [*(folder / "releases").glob("*.released"), *(folder / "releases").glob("*.recalled")]
    releases = [read_kept(path, remedy="bring it back from a backup").get("release") or {} for path in papers]
    return {release["data_root"] for release in releases if "data_root" in release}
