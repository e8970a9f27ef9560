"""`manifest.csv`: what is read, and what is refused with its line."""

import pytest

from assay.accounts.errors import InvalidError
from assay.testsets.manifest import manifest_sha256, parse_manifest

GOOD = "case_id,site,input:t1,input:t2,reference\nA01,A,i/A01_t1.nii.gz,i/A01_t2.nii.gz,r/A01.nii.gz\nB01,B,i/B01_t1.nii.gz,,r/B01.nii.gz\n"


def test_names_lead_to_paths_and_the_rest_are_attributes():
    first, second = parse_manifest(GOOD)
    assert first.case_id == "A01"
    assert first.inputs == {"t1": "i/A01_t1.nii.gz", "t2": "i/A01_t2.nii.gz"}
    assert first.references == {"reference": "r/A01.nii.gz"}
    assert first.attributes == {"site": "A"}
    assert second.inputs == {"t1": "i/B01_t1.nii.gz"}, "an empty cell is a modality this case does not have"


def test_masks_per_structure_keep_their_names():
    (case,) = parse_manifest("case_id,input:ct,reference:liver,reference:left kidney\n1,a.nii,b.nii,c.nii\n")
    assert case.references == {"liver": "b.nii", "left kidney": "c.nii"}


def test_a_byte_order_mark_and_windows_lines_are_fine():
    (case,) = parse_manifest("\ufeffcase_id,input:ct,reference\r\n1,a.nii,b.nii\r\n")
    assert case.case_id == "1"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "lacks a column"),
        ("case_id,input:ct\n1,a\n", 1, "lacks a column"),
        ("case_id;input:ct;reference\n1;a;b\n", 1, "something else than commas"),
        ("case_id\tinput:ct\treference\n1\ta\tb\n", 1, "something else than commas"),
        ("case_id,case_id,input:ct,reference\n1,1,a,b\n", 1, "twice"),
        ("case_id,input:ct,reference,reference:liver\n1,a,b,c\n", 1, "both kinds"),
        ("case_id,input:ct,reference\n1,a,b\n2,../../etc/passwd,b\n", 3, "inside the folder"),
        ("case_id,input:ct,reference\n1,/etc/passwd,b\n", 2, "inside the folder"),
        ("case_id,input:ct,reference\n1,a\\b,b\n", 2, "inside the folder"),
        ("case_id,input:ct,reference\n.x,a,b\n", 2, "needs an id"),
        ("case_id,input:ct,reference\na/b,a,b\n", 2, "needs an id"),
        ("case_id,input:ct,reference\n1,,b\n", 2, "needs an input and a reference"),
        ("case_id,input:ct,reference\n1,a\n", 2, "as many fields"),
        ("case_id,input:ct,reference\n1,a,b,c\n", 2, "as many fields"),
        ("case_id,input:ct,reference\nA,a,b\na,a,b\n", 3, "case twice"),
        ('case_id,input:ct,reference\n"1,a,b\n', 2, "not CSV"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(text, line, says):
    with pytest.raises(InvalidError, match=says) as refusal:
        parse_manifest(text)
    assert refusal.value.line == line


def test_a_manifest_without_cases_is_refused():
    with pytest.raises(InvalidError, match="no usable number of rows"):
        parse_manifest("case_id,input:ct,reference\n")


def test_the_hash_does_not_depend_on_the_order_of_keys_and_does_on_the_content():
    one = [{"case_id": "1", "inputs": []}]
    assert manifest_sha256(one) == manifest_sha256([{"inputs": [], "case_id": "1"}])
    assert manifest_sha256(one) != manifest_sha256([{"case_id": "2", "inputs": []}])


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("input_t1", "input:t1"),
        ("Input: t1", "input:t1"),
        ("inputs.flair", "input:flair"),
        ("reference-core", "reference:core"),
        ("caseid", "case_id"),
        ("refrence", "reference"),
    ],
)
def test_a_column_that_is_nearly_one_of_ours_is_no_attribute(column, meant):
    """It was kept as one, and every case lacked the image it names."""
    with pytest.raises(InvalidError) as refused:
        parse_manifest(f"case_id,{column},reference:rim\na,x,y.nii.gz\n")
    assert (refused.value.found, refused.value.expected, refused.value.line) == (column, meant, 1)
    assert parse_manifest("case_id,site,age_band,reference\na,x,y,y.nii.gz\n")
