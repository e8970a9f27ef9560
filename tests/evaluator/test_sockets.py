"""What a protocol says of grand-challenge's sockets: the list of inputs, outputs of any name, and JSON beside the mask."""

import json

import pytest

from evaluator.errors import InvalidVolume, ProtocolError
from evaluator.protocol import load_protocol
from evaluator.volumes import canonicalise_json
from evaluator.volumes.tables import MAX_DOCUMENT_BYTES


def document(**changes):
    return {
        "protocol": 1,
        "name": "liver",
        "labels": {"liver": 1},
        "inputs": [
            {"name": "ct", "socket": "ct-image", "file": "images/ct-image/{case}.mha"},
            {"name": "Age in months", "kind": "value", "file": "age-in-months.json", "required": False},
            {"name": "notes", "kind": "file", "file": "notes.zip", "required": False},
            {"name": "sockets", "kind": "sockets", "file": "inputs.json"},
        ],
        "outputs": [
            {"name": "mask", "kind": "label_map", "file": "images/liver/*"},
            {"name": "volume", "kind": "json", "file": "liver-volume.json"},
        ],
        "metrics": [{"name": "dice"}],
    } | changes


def with_names(text: str) -> str:
    return text.replace("Age in months", "age")


PROTOCOL = load_protocol(json.loads(with_names(json.dumps(document()))))


def test_the_list_has_the_inputs_of_the_case_and_no_other():
    ((path, entries),) = PROTOCOL.input_sockets("x", present={"ct", "age"}).items()
    assert path == "inputs.json"
    told = [
        (entry["interface"]["slug"], entry["interface"]["super_kind"], entry["interface"]["relative_path"])
        for entry in entries
    ]
    assert told == [("ct-image", "Image", "images/ct-image"), ("age", "Value", "age-in-months.json")]
    assert entries[0]["image"]["name"] == "x.mha"
    assert [entry["value"] for entry in entries] == [None, None]


def test_identifiers_say_nothing_and_are_the_same_again():
    (first,), (again,), (other,) = (
        PROTOCOL.input_sockets(case, present={"ct"})["inputs.json"] for case in ("x", "x", "y")
    )
    assert first == again
    assert first["image"]["pk"] != other["image"]["pk"]
    assert first["interface"]["pk"] == other["interface"]["pk"]


def test_made_inputs_are_no_files_of_a_case_and_free_names_get_one():
    assert set(PROTOCOL.input_files("x")) == {"ct", "age", "notes"}
    assert PROTOCOL.output_files("x") == {"mask": "images/liver/*", "volume": "liver-volume.json"}
    assert PROTOCOL.written_files("x")["mask"] == "images/liver/output.mha"
    assert PROTOCOL.archive_files("x")["mask"] == "x/images/liver/output.mha"
    assert PROTOCOL.without_documents({"mask": "m", "volume": "v"}) == {"mask": "m"}


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": [{"name": "volume", "kind": "json", "file": "v.json"}]},
        {"resources": {"run_mode": "cohort"}},
        {"outputs": [{"name": "mask", "kind": "label_map", "file": "*/mask.mha"}]},
        {"inputs": [{"name": "ct", "file": "images/ct/*"}]},
    ],
)
def test_what_the_contract_has_no_place_for_is_refused(changes):
    with pytest.raises(ProtocolError):
        load_protocol(json.loads(with_names(json.dumps(document(**changes)))))


def test_an_older_document_keeps_its_hash():
    """The new keys are written out only where they are given."""
    plain = document(
        inputs=[{"name": "ct", "file": "ct.mha"}], outputs=[{"name": "mask", "kind": "label_map", "file": "m.mha"}]
    )
    assert set(load_protocol(plain).document["inputs"][0]) == {"name", "kind", "file", "required", "key", "columns"}


def test_a_document_is_written_in_one_form(tmp_path):
    (tmp_path / "given.json").write_text('{"b": [1, 2.5],\n "a": null}')
    made = canonicalise_json(source=tmp_path / "given.json", destination=tmp_path / "made.json")
    assert made.path.read_text() == '{"a":null,"b":[1,2.5]}'


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"NaN",
        b"[1e999]",
        b'{"a":1,"a":2}',
        b"[" * 100 + b"]" * 100,
        b"[" * 100_000,
        b"\xff",
        b" " * (MAX_DOCUMENT_BYTES + 1),
    ],
)
def test_a_document_that_is_not_strict_json_is_refused(tmp_path, raw):
    (tmp_path / "given.json").write_bytes(raw)
    with pytest.raises(InvalidVolume):
        canonicalise_json(source=tmp_path / "given.json", destination=tmp_path / "made.json")
    assert not (tmp_path / "made.json").exists()
