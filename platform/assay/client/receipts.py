"""Checking a receipt offline: who signed it, and that nothing in it was changed since. Pure."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class ReceiptInvalid(Exception):
    """The receipt is not what the installation signed."""


def verify_receipt(receipt: Mapping[str, Any], *, public_key: str) -> None:
    """Return quietly when `public_key` (base64, from `/api/v1/keys`) signed exactly this receipt. Raise ReceiptInvalid if not."""
    try:
        signature = base64.b64decode(str(receipt["signature"]), validate=True)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
    except (KeyError, ValueError, binascii.Error) as error:
        raise ReceiptInvalid(f"found no readable signature or key ({error}); expected base64 Ed25519 values") from error
    signed = {name: value for name, value in receipt.items() if name != "signature"}
    if signed.get("public_key") != public_key:
        raise ReceiptInvalid("it names another key than the one given; get the key from the installation you trust")
    message = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise ReceiptInvalid(
            "the signature does not fit: it was changed after signing, or signed with another key"
        ) from None
