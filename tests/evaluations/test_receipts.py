"""Receipts: what they say, who can check them, and what a change does to them."""

import copy

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.evaluations.receipts import signing_key
from assay.signatures import SignatureInvalid, check_signature, public_key_text, signed

DOCUMENT = {"receipt": 1, "team": "Größe", "limits": {"wall_seconds": 30}, "cases": {"total": 8, "failed": 1}}


@pytest.fixture
def key(tmp_path):
    return signing_key(folder=tmp_path / "keys")


def test_a_receipt_is_verified_offline_with_the_public_key_alone(key):
    check_signature(signed(DOCUMENT, key=key), public_key=public_key_text(key))


@pytest.mark.parametrize("change", ["team", "cases", "signature", "extra"])
def test_a_changed_receipt_is_found_out(key, change):
    receipt = copy.deepcopy(signed(DOCUMENT, key=key))
    if change == "team":
        receipt["team"] = "Others"
    elif change == "cases":
        receipt["cases"]["failed"] = 0
    elif change == "signature":
        receipt["signature"] = "AAAA" + receipt["signature"][4:]
    else:
        receipt["note"] = "added later"
    with pytest.raises(SignatureInvalid, match="does not fit"):
        check_signature(receipt, public_key=public_key_text(key))


def test_a_receipt_signed_by_somebody_else_is_found_out(key):
    forged = signed(DOCUMENT, key=Ed25519PrivateKey.generate())
    with pytest.raises(SignatureInvalid, match="another key"):
        check_signature(forged, public_key=public_key_text(key))


def test_something_that_is_no_receipt_says_so(key):
    with pytest.raises(SignatureInvalid, match="expected base64"):
        check_signature({"receipt": 1}, public_key=public_key_text(key))


def test_the_key_is_made_once_and_is_ours_alone(tmp_path):
    folder = tmp_path / "keys"
    first, second = signing_key(folder=folder), signing_key(folder=folder)
    assert public_key_text(first) == public_key_text(second)
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
