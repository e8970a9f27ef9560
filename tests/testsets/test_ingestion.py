"""What organizers push becomes canonical cases. What cannot be used is named, all of it at once."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

import testset_folders as folders
from assay.accounts.errors import InvalidError
from assay.testsets.ingestion import ingest_cases, refuse_identifying, summarise
from evaluator.protocol import InputKind
from evaluator.volumes import read_label_map


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "target"
    path.mkdir()
    return path


def manifest(folder, *rows: str, columns: str = "case_id,site,input:t1,reference") -> None:
    (folder / "manifest.csv").write_text("\n".join([columns, *rows]) + "\n")


def problem_with(folder, target) -> InvalidError:
    with pytest.raises(InvalidError) as refusal:
        ingest_cases(folder=folder, target=target)
    return refusal.value


def test_a_good_folder_becomes_canonical_files_on_one_grid(source, target):
    cases = ingest_cases(folder=folders.good_folder(source), target=target)
    assert [case.source.case_id for case in cases] == ["A01", "B01"]
    assert cases[0].grid.shape == folders.SHAPE
    assert cases[0].grid.spacing_mm == (1.0, 1.0, 2.0)
    assert cases[0].grid.affine[0] == (-1.0, 0.0, 0.0, -3.0), "x runs to the left in DICOM and to the right in NIfTI"
    reference = read_label_map(cases[0].references[0].path)
    assert reference.array.shape == folders.SHAPE
    assert reference.array[1, 1, 0] == 1
    assert cases[0].facts["voxels_per_label"] == {"1": 6, "2": 6}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd", ".hdr", ".img"])
def test_every_known_kind_of_file_gives_the_same_case(source, target, suffix):
    folders.write(folders.image(), source / f"i{suffix}")
    folders.write(folders.labels(), source / f"r{suffix}")
    manifest(source, f"1,A,i{suffix},r{suffix}")
    (case,) = ingest_cases(folder=source, target=target)
    assert case.grid.shape == folders.SHAPE
    np.testing.assert_allclose(case.grid.affine, [[-1, 0, 0, -3], [0, -1, 0, -4], [0, 0, 2, 5], [0, 0, 0, 1]])
    assert case.facts["voxels_per_label"] == {"1": 6, "2": 6}


def test_a_pair_is_refused_where_it_is_none(source, target):
    folders.good_folder(source, case_ids=("A",))
    folders.write(folders.image(), source / "i.hdr")
    manifest(source, "A,A,i.hdr,labels/A.nii.gz")
    voxels = (source / "i.img").read_bytes()
    (source / "i.img").write_bytes(voxels[:-1])
    assert "i.img is damaged: found 239 bytes, expected 240" in problem_with(source, target).found
    (source / "i.img").unlink()
    assert "i.hdr stands alone; expected i.hdr and i.img beside each other" in problem_with(source, target / "2").found
    (source / "i.img").write_bytes(voxels)
    header = (source / "i.hdr").read_bytes()
    (source / "i.hdr").write_bytes(header[:344] + b"\0\0\0\0")
    assert "Analyze 7.5 says nothing of orientation" in problem_with(source, target / "3").found


@pytest.mark.parametrize(
    ("suffix", "then"),
    [(".nii", "; they are stored as 0"), (".nii.gz", "; they are stored as 0"), (".mha", ""), (".nrrd", "")],
)
def test_voxels_that_are_no_numbers_are_a_warning(source, target, suffix, then):
    """SimpleITK's NIfTI reader makes them 0 without a word."""
    folders.good_folder(source, case_ids=("A",))
    voxels = sitk.GetArrayFromImage(folders.image()).astype(np.float32)
    voxels[0, 0, :3] = [np.nan, np.inf, -np.inf]
    odd = folders.placed(voxels, spacing_mm=(1.0, 1.0, 2.0), origin_mm=(3.0, 4.0, 5.0))
    folders.write(odd, source / f"images/odd{suffix}")
    manifest(source, f"A,A,images/odd{suffix},labels/A.nii.gz")
    report = summarise(ingest_cases(folder=source, target=target), notice="x")
    assert report["warnings"] == [
        f"A: images/odd{suffix} holds 3 voxels that are no finite numbers (NaN or infinity){then}"
    ]


def test_a_header_that_contradicts_itself_about_spacing_is_a_warning(source, target):
    folders.good_folder(source, case_ids=("A",))
    for path in (source / "images/A.nii.gz", source / "labels/A.nii.gz"):
        raw = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into("<f", raw, 88, 2.5)
        path.write_bytes(gzip.compress(bytes(raw)))
    report = summarise(ingest_cases(folder=source, target=target), notice="x")
    assert report["warnings"][0] == (
        "A: images/A.nii.gz: its header says that voxels are 1 × 1 × 2.5 mm large, and its affine places them 1 × 1 × 2 mm apart; "
        "1 × 1 × 2.5 mm is used"
    )
    assert len(report["warnings"]) == 2


def test_a_dicom_series_in_a_folder_is_one_image(source, target):
    folders.write_dicom_series(folders.image(), source / "ct")
    folders.write(folders.labels(), source / "r.nii.gz")
    manifest(source, "1,A,ct,r.nii.gz")
    (case,) = ingest_cases(folder=source, target=target)
    assert case.grid.shape == folders.SHAPE


def test_a_reference_elsewhere_than_its_image_is_refused_with_both_places(source, target):
    folders.good_folder(source)
    folders.write(folders.labels(origin_mm=(3.0, 4.0, 9.0)), source / "labels/B01.nii.gz")
    problem = problem_with(source, target)
    assert problem.code == "testset_invalid"
    assert problem.message == "1 of 2 cases cannot be used."
    assert "B01: labels/B01.nii.gz does not lie on the input image" in problem.found
    assert "+4 mm along z, a corner 4 mm off" in problem.found


def test_all_problems_are_told_at_once(source, target):
    folders.good_folder(source, case_ids=("A", "B", "C"))
    (source / "images/A.nii.gz").unlink()
    (source / "images/B.nii.gz").write_bytes(b"no image")
    folders.write(sitk.Cast(folders.labels(), sitk.sitkFloat32) + 0.5, source / "labels/C.nii.gz")
    problem = problem_with(source, target)
    assert problem.message == "3 of 3 cases cannot be used."
    assert "A: images/A.nii.gz is named in the manifest and not there" in problem.found
    assert "B: " in problem.found
    assert "C: labels/C.nii.gz holds values that are not whole numbers" in problem.found


def test_a_float_file_of_whole_numbers_is_a_label_map(source, target):
    folders.good_folder(source, case_ids=("A",))
    folders.write(sitk.Cast(folders.labels(), sitk.sitkFloat64), source / "labels/A.nii.gz")
    (case,) = ingest_cases(folder=source, target=target)
    assert read_label_map(case.references[0].path).array.dtype == np.uint8


def test_negative_labels_are_refused(source, target):
    folders.good_folder(source, case_ids=("A",))
    folders.write(sitk.Cast(folders.labels(), sitk.sitkInt16) - 1, source / "labels/A.nii.gz")
    assert "outside 0 to 65535" in problem_with(source, target).found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "x.mha",
            b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = /etc/passwd\n",
        ),
        ("x.mha", b"ObjectType = Image\nNDims = 3\nElementDataFile = LIST\n/etc/passwd\n"),
        ("x.nrrd", b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: /etc/passwd\n\n"),
        ("x.nrrd", b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndatafile: ../secret\n\n"),
        ("x.mhd", b"ObjectType = Image\n"),
    ],
)
def test_a_header_that_leads_to_another_file_is_refused(source, target, name, content):
    folders.good_folder(source, case_ids=("A",))
    (source / name).write_bytes(content)
    manifest(source, f"A,A,{name},labels/A.nii.gz")
    found = problem_with(source, target).found
    assert "another file" in found or "no known kind" in found


def test_the_report_warns_of_labels_missing_in_one_case_only(source, target):
    folders.good_folder(source)
    folders.write(folders.labels(values=(1,)), source / "labels/B01.nii.gz")
    report = summarise(ingest_cases(folder=source, target=target), notice="")
    assert report["warnings"] == [
        "B01: label 2 is empty here and present in other cases",
        "no NOTICE or LICENSE file came with the data",
    ]
    assert report["attributes"] == ["site"]


def test_a_folder_without_a_manifest_is_refused(source, target):
    assert "no manifest.csv" in problem_with(source, target).message


def test_the_protocol_says_what_an_input_is_and_not_its_suffix(source, target):
    folders.good_folder(source)
    (source / "parameters.yaml").write_text("threshold: 100\n")
    (source / "age.json").write_text("17")
    reference = "labels/A01.nii.gz"
    columns = "case_id,input:t1,input:parameters,input:age,input:packed,reference"
    manifest(source, f"a,{reference},parameters.yaml,age.json,{reference},{reference}", columns=columns)
    kinds = {"t1": InputKind.IMAGE, "parameters": InputKind.FILE, "age": InputKind.VALUE, "packed": InputKind.FILE}
    (case,) = ingest_cases(folder=source, target=target, kinds=kinds)
    parts = {part.name: part.path for part in case.inputs}
    assert parts["parameters"].read_text() == "threshold: 100\n"
    assert parts["packed"].read_bytes() == (source / reference).read_bytes(), (
        "handed over as it came, not written again"
    )
    assert not parts["packed"].name.endswith(".nii.gz")
    with pytest.raises(InvalidError, match="cannot be used"):
        ingest_cases(folder=source, target=target / "unsaid", kinds={})


@pytest.mark.parametrize("text", ["", "{", "NaN", "x" * 2**21])
def test_a_value_has_to_be_json(source, target, text):
    folders.good_folder(source)
    (source / "age.json").write_text(text)
    reference = "labels/A01.nii.gz"
    manifest(source, f"a,{reference},age.json,{reference}", columns="case_id,input:t1,input:age,reference")
    with pytest.raises(InvalidError, match="cannot be used"):
        ingest_cases(folder=source, target=target, kinds={"age": InputKind.VALUE})


def test_who_a_patient_is_stops_a_folder_and_a_pseudonym_does_not(source, target):
    series = source / "scan"
    folders.write_dicom_series(folders.image(), series, tags={"0010|0010": "Doe^Jane", "0010|0030": "19700131"})
    folders.write(folders.labels(), source / "mask.nii.gz")
    manifest(source, "A01,A,scan,mask.nii.gz")
    (case,) = ingest_cases(folder=source, target=target)
    assert case.facts["identifying"] == ["PatientBirthDate", "PatientName"]
    with pytest.raises(InvalidError) as caught:
        refuse_identifying([case])
    assert caught.value.code == "testset_identifying"
    assert "A01: PatientBirthDate, PatientName" in str(caught.value.found)
    assert "Doe" not in str(caught.value.found)
    assert "its header held PatientName" in summarise([case], notice="")["cases"][0]["findings"]


@pytest.mark.parametrize("name", ["A01", "ANONYMOUS", "", "anon^^^^"])
def test_what_a_tool_for_pseudonyms_leaves_behind_is_no_name(source, target, name):
    folders.write_dicom_series(folders.image(), source / "scan", tags={"0010|0010": name, "0010|0020": "P-17"})
    folders.write(folders.labels(), source / "mask.nii.gz")
    manifest(source, "A01,A,scan,mask.nii.gz")
    (case,) = ingest_cases(folder=source, target=target)
    assert case.facts["identifying"] == []


@pytest.mark.parametrize(("text", "found"), [("Doe^Jane 19700131", ["descrip"]), ("FSL5.0", []), ("TE=2.1;sec=4", [])])
def test_the_free_texts_of_a_nifti_header_are_read(source, target, text, found):
    picture = folders.image()
    picture.SetMetaData("ITK_FileNotes", text)  # the text of the field `descrip`
    folders.write(picture, source / "scan.nii.gz")
    folders.write(folders.labels(), source / "mask.nii.gz")
    manifest(source, "A01,A,scan.nii.gz,mask.nii.gz")
    (case,) = ingest_cases(folder=source, target=target)
    assert case.facts["identifying"] == found
