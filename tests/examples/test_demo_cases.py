"""The demo's cases are real anatomy, repeatable, and rank the three real algorithms differently per site."""

import csv
import gzip
import importlib

import nibabel
import numpy as np
import pytest

from containers.examples.demo import make_cases

REAL = ("mixture", "thresholds", "otsu")
pytestmark = pytest.mark.slow  # whole heads: about ten seconds together


@pytest.fixture(scope="module")
def template() -> make_cases.Template:
    return make_cases.read_template()


@pytest.fixture(scope="module")
def views(template):
    return {site: make_cases.scanner_view(template=template, scanner=make_cases.SCANNERS[site]) for site in "AB"}


def make(views, site, seed):
    return make_cases.make_case(view=views[site], scanner=make_cases.SCANNERS[site], seed=seed)


def run(name, case, folder):
    """The segmentation an example algorithm writes for a case, outside any container."""
    algorithm = importlib.import_module(f"containers.examples.{name}.predict")
    algorithm.INPUT, algorithm.OUTPUT = str(folder / "t1.nii.gz"), str(folder / f"{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(case.t1, case.affine), algorithm.INPUT)
    algorithm.main()
    return nibabel.load(algorithm.OUTPUT)


def mean_dice(reference, prediction):
    labels = (1, 2, 3)
    shared = [np.sum((reference == label) & (prediction == label)) for label in labels]
    sizes = [np.sum(reference == label) + np.sum(prediction == label) for label in labels]
    return float(np.mean([2 * both / size for both, size in zip(shared, sizes, strict=True)]))


def test_the_template_is_the_mni152_average_of_1_89_litres(template):
    brain = template.t1 > 0
    grey, white = (np.rint(255 * probability).astype(int) for probability in (template.grey, template.white))
    labels = np.argmax([255 - grey - white, grey, white], axis=0)[brain]  # a tie goes to the lower label
    assert template.t1.shape == (197, 233, 189)
    assert brain.sum() == 1_886_539
    assert np.bincount(labels).tolist() == [160_496, 1_090_506, 635_537]


def test_a_case_is_a_skull_stripped_scan_with_three_tissues_on_the_scanners_grid(views):
    case = make(views, "B", 0)
    assert case.case_id == "B0"
    assert nibabel.affines.voxel_sizes(case.affine).tolist() == [1.5, 1.5, 3.0]
    assert np.array_equal(case.t1 == 0, case.reference == 0)
    tissue_ml = np.bincount(case.reference.ravel())[1:] * 1.5 * 1.5 * 3 / 1000
    assert 1000 < tissue_ml.sum() < 2600
    assert tissue_ml[0] < tissue_ml[2] < tissue_ml[1]  # CSF, white, grey: as in the template
    means = [case.t1[case.reference == label].mean() for label in (1, 2, 3)]
    assert means == sorted(means)


def test_the_same_seed_gives_the_same_case_and_another_seed_another(views):
    first, again, other = make(views, "A", 0), make(views, "A", 0), make(views, "A", 1)
    assert np.array_equal(first.t1, again.t1)
    assert first.t1.shape != other.t1.shape or not np.array_equal(first.t1, other.t1)


def test_a_test_set_travels_with_its_notice_and_names_every_file(template, tmp_path):
    make_cases.write_testset(folder=tmp_path, wanted=[("A", 10)], template=template)
    with (tmp_path / "manifest.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["case_id"], row["site"]) == ("A10", "A")
    for column in ("input:t1", "reference"):
        content = (tmp_path / row[column]).read_bytes()
        assert content[3] == 0, "the gzip header names no file"
        assert content[4:8] == b"\0\0\0\0", "the gzip header names no time"
        assert len(gzip.decompress(content)) > 352
    assert "Copyright (C) 1993-2009 Louis Collins" in (tmp_path / "NOTICE").read_text()


def test_quantiles_fails_on_case_b2_and_on_no_smaller_one(views, tmp_path):
    with pytest.raises(ValueError, match="could not broadcast"):
        run("quantiles", make(views, "B", 2), tmp_path)
    assert run("quantiles", make(views, "B", 0), tmp_path).shape == make(views, "B", 0).t1.shape


def test_mirror_moves_its_segmentation_in_space_and_forgets_csf(views, tmp_path):
    case = make(views, "A", 0)
    written = run("mirror", case, tmp_path)
    assert set(np.unique(np.asarray(written.dataobj))) == {0, 2, 3}
    assert not np.allclose(written.affine, case.affine)


@pytest.mark.parametrize("seeds", [(0, 1), (20, 21)], ids=str)
def test_the_order_differs_per_site_whatever_the_seed(views, tmp_path, seeds):
    dice = {name: {site: [] for site in "AB"} for name in REAL}
    for site in "AB":
        for seed in seeds:
            case = make(views, site, seed)
            for name in REAL:
                prediction = np.asarray(run(name, case, tmp_path).dataobj)
                dice[name][site].append(mean_dice(case.reference, prediction))

    def order(sites):
        return sorted(REAL, key=lambda name: -np.mean([v for site in sites for v in dice[name][site]]))

    assert order("A") == ["thresholds", "mixture", "otsu"]
    assert order("B") == ["mixture", "otsu", "thresholds"]
    assert order("AB") == ["mixture", "thresholds", "otsu"]
