"""Signed documents: canonical JSON with an Ed25519 signature, and the words by which people compare keys. No Django here.

A signed document is a JSON object with `public_key` and `signature` (both base64). The signature covers all the rest, spelled
in one way: keys sorted, no spaces, UTF-8, no NaN. Receipts, and everything that a hospital and a server say to each other
about what was agreed, ordered or released, are of this form.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from assay.private_files import write_once

CONSONANTS, VOWELS = "bdfghjklmnprstvz", "aiou"
WORDS = 6


class SignatureInvalid(Exception):
    """The document is not what the named key signed. The text says what was found."""


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """The one spelling of a document that is hashed and signed."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def document_hash(document: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical spelling, in hexadecimal digits."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def public_key_text(key: Ed25519PrivateKey) -> str:
    """The public half, base64."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def signed(document: Mapping[str, Any], *, key: Ed25519PrivateKey) -> dict[str, Any]:
    """The document with the key's public half and a signature over all the rest."""
    named = {**document, "public_key": public_key_text(key)}
    return {**named, "signature": base64.b64encode(key.sign(canonical_json(named))).decode()}


def check_signature(document: Mapping[str, Any], *, public_key: str) -> None:
    """Return quietly when `public_key` (base64) signed exactly this document. Raise SignatureInvalid if not."""
    try:
        signature = base64.b64decode(str(document["signature"]), validate=True)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
    except (KeyError, ValueError, binascii.Error) as error:
        raise SignatureInvalid(
            f"found no readable signature or key ({error}); expected base64 Ed25519 values"
        ) from error
    named = {name: value for name, value in document.items() if name != "signature"}
    if named.get("public_key") != public_key:
        raise SignatureInvalid("it names another key than the one given; get the key from the installation you trust")
    try:
        key.verify(signature, canonical_json(named))
    except InvalidSignature:
        raise SignatureInvalid(
            "the signature does not fit: it was changed after signing, or signed with another key"
        ) from None
    except ValueError as error:
        raise SignatureInvalid(f"it has no canonical spelling ({error})") from error


def is_public_key(text: str) -> bool:
    """Whether this is the base64 of an Ed25519 public key."""
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return False
    return True


def kept_key(path: Path) -> Ed25519PrivateKey:
    """The private key in this file of mode 0600, made at the first use. The first of two makers wins."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_once(path, Ed25519PrivateKey.generate().private_bytes_raw())
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


def words_of(*keys: str) -> str:
    """Six made-up words that two people read to each other to see that both hold the same public keys, in the same order.

    Each word spells 16 bits of a hash as consonant, vowel, consonant, vowel, consonant, as proquints do (arXiv 0901.4016).
    They are words of no language, so that they are as easy in German as in English. 96 bits make it hopeless for somebody
    between the two to look for keys of his own with the same words.
    """
    digest = hashlib.sha256(b"assay words\0" + "\0".join(keys).encode()).digest()
    numbers = [int.from_bytes(digest[place * 2 : place * 2 + 2]) for place in range(WORDS)]
    return " ".join(_word(number) for number in numbers)


def same_words(one: str, other: str) -> bool:
    """Whether two people mean the same words, however they put spaces, hyphens and capitals."""
    return one.lower().replace("-", " ").split() == other.lower().replace("-", " ").split()


def _word(number: int) -> str:
    letters = []
    for alphabet, shift in ((CONSONANTS, 12), (VOWELS, 10), (CONSONANTS, 6), (VOWELS, 4), (CONSONANTS, 0)):
        letters.append(alphabet[number >> shift & len(alphabet) - 1])
    return "".join(letters)
