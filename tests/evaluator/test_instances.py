"""Objects that the files number themselves, detection pooled over cases, and time that costs nothing up to an image's size."""

import random

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.optimize import linear_sum_assignment

from evaluator.errors import ProtocolError
from evaluator.metrics.components import number_values
from evaluator.metrics.objects import MatchRules, ObjectMatch, _most_pairs, match_objects
from evaluator.protocol import load_named_protocol, load_protocol
from evaluator.scoring.case import score_case, summarise
from evaluator.scoring.pairing import pair_folders
from tests.evaluator.volume_files import save_nifti


def cells(*, shape=(20, 20), **squares):
    """An instance map: `a=(number, x, y)` is a 4 × 4 square of that number."""
    image = np.zeros(shape, np.uint16)
    for number, x, y in squares.values():
        image[x : x + 4, y : y + 4] = number
    return image


def scored(protocol, tmp_path, reference, prediction, *, name="c", **more):
    files = {"r": save_nifti(tmp_path / f"{name}-r.nii.gz", reference)}
    predictions = None
    if prediction is not None:
        predictions = {"segmentation": save_nifti(tmp_path / f"{name}-p.nii.gz", prediction)}
    return score_case(protocol=protocol, case_id=name, references=files, predictions=predictions, **more)


def value(result, metric):
    return next(row.value for row in result.rows if row.metric == metric)


def test_touching_cells_are_two_by_their_numbers_and_one_by_contact(tmp_path):
    """Two squares side by side. Numbers tell them apart. The prediction that merges them overlaps each by 16 / 32."""
    document = load_named_protocol("cellseg22").document
    protocol = load_protocol(document | {"metrics": [{"name": "f1_at_iou"}], "conventions": {}, "ranking": {}})
    two, one = cells(a=(3, 2, 2), b=(900, 6, 2)), cells(a=(7, 2, 2), b=(7, 6, 2))
    assert value(scored(protocol, tmp_path, two, two), "f1_at_iou") == 1.0
    assert value(scored(protocol, tmp_path, two, one), "f1_at_iou") == 0.0
    by_contact = load_protocol(
        {**protocol.document, "outputs": [{**protocol.document["outputs"][0], "instances": False}]}
    )
    assert (
        value(scored(by_contact, tmp_path, (two > 0).astype(np.uint8), (one > 0).astype(np.uint8)), "f1_at_iou") == 1.0
    )


@pytest.mark.checked(
    "cellseg22",
    what="F1 of numbered cells by hand",
    source="NeurIPS 2022 CellSeg evaluation",
)
def test_f1_counts_found_missed_and_invented_cells(tmp_path):
    """Found: one exactly, one 12 / 20 = 0.6. Missed: one at 8 / 24. Invented: that one, and one far away. 2·2 / (4 + 2 + 1)."""
    protocol = load_named_protocol("cellseg22")
    reference = cells(shape=(24, 24), a=(1, 2, 2), b=(2, 8, 2), c=(3, 14, 2))
    prediction = cells(shape=(24, 24), a=(5, 2, 2), b=(6, 8, 3), c=(7, 14, 4), d=(8, 14, 16))
    assert value(scored(protocol, tmp_path, reference, prediction), "f1_at_iou") == 0.5714


@pytest.mark.checked(
    "cellseg22",
    what="an IoU of one half matches, cells within 2 pixels of the edge do not count",
    source="JunMa11/NeurIPS-CellSeg baseline/compute_metric.py",
)
def test_an_overlap_of_one_half_is_enough_and_cells_at_the_edge_do_not_count(tmp_path):
    """The cell of 4 × 4 and its prediction of 4 × 2 have an IoU of 8 / 16. A cell that begins in column 1 counts on neither side."""
    protocol = load_named_protocol("cellseg22")
    reference, prediction = cells(a=(1, 2, 2)), cells(a=(1, 2, 2))
    prediction[2:4] = 0
    assert value(scored(protocol, tmp_path, reference, prediction), "f1_at_iou") == 1.0
    stricter = load_protocol({**POOLED, "outputs": NUMBERED, "metrics": [{"name": "f1_at_iou", "iou": 0.5}]})
    assert value(scored(stricter, tmp_path, reference, prediction), "f1_at_iou") == 0.0
    at_edge = cells(a=(1, 2, 2), b=(2, 14, 1), c=(3, 2, 15))
    assert value(scored(protocol, tmp_path, at_edge, reference), "f1_at_iou") == 1.0
    assert value(scored(protocol, tmp_path, reference, at_edge), "f1_at_iou") == 1.0


def test_an_object_that_reaches_one_half_with_two_others_takes_one():
    whole, halves = (number_values(cells(shape=(8, 8), a=(1, 2, 2))) for _ in range(2))
    halves.labels[4:6][halves.labels[4:6] > 0] = 2
    halves = number_values(halves.labels)
    assert match_objects(whole, halves, rules=MatchRules(iou_rule="at_least")) == ObjectMatch(1, 1, 0)
    assert match_objects(halves, whole, rules=MatchRules(iou_rule="at_least")) == ObjectMatch(1, 0, 1)


def test_a_flat_image_of_one_slice_has_no_edge_along_it():
    flat = number_values(cells(a=(1, 6, 6))[:, :, None])
    assert match_objects(flat, flat, rules=MatchRules(border=2)) == ObjectMatch(1, 0, 0)


def test_tiles_are_images_with_edges_of_their_own_and_the_last_reaches_beyond_the_image():
    """Tiles of 12 in 20 × 20: the cell across column 12 is cut in two and left out, the one at the image's right edge counts."""
    image = number_values(cells(a=(1, 3, 3), b=(2, 10, 3), c=(3, 14, 16)))
    assert match_objects(image, image, rules=MatchRules(border=2)) == ObjectMatch(2, 0, 0)
    assert match_objects(image, image, rules=MatchRules(border=2, tile=12, tile_from_voxels=401)).true_positives == 2
    in_tiles = match_objects(image, image, rules=MatchRules(border=2, tile=12, tile_from_voxels=400))
    assert in_tiles == ObjectMatch(2, 0, 0)


def test_the_edge_of_an_image_is_known_only_to_numbered_objects():
    with pytest.raises(ProtocolError, match="instances: true"):
        load_protocol(POOLED | {"metrics": [{"name": "f1_at_iou", "border": 2}]})


def test_one_number_is_one_cell_even_in_two_pieces():
    objects = number_values(np.array([[0, 5, 0, 5], [-2, 0, 9, 9]], np.int16))
    assert objects.count == 3
    assert objects.labels.tolist() == [[0, 2, 0, 2], [1, 0, 3, 3]]


def test_a_map_without_cells_is_right_only_when_there_are_none(tmp_path):
    protocol = load_named_protocol("cellseg22")
    empty, some = cells(), cells(a=(1, 2, 2))
    assert value(scored(protocol, tmp_path, empty, empty), "f1_at_iou") == 1.0
    assert value(scored(protocol, tmp_path, empty, some), "f1_at_iou") == 0.0
    assert value(scored(protocol, tmp_path, some, empty), "f1_at_iou") == 0.0


@pytest.mark.parametrize(
    ("shape", "seconds", "ranked"),
    [((500, 500), 9.0, 0.0), ((500, 500), 12.5, 2.5), ((1000, 1000), 12.5, 2.5), ((2000, 1500), 31.0, 1.0)],
)
@pytest.mark.checked(
    "cellseg22",
    what="free time by image size",
    source="NeurIPS 2022 CellSeg page",
)
def test_time_is_free_for_ten_seconds_or_ten_per_million_pixels(tmp_path, shape, seconds, ranked):
    """NeurIPS 2022: 10 s up to a million pixels, 30 s for three million."""
    image = cells(shape=shape, a=(1, 2, 2))
    result = scored(load_named_protocol("cellseg22"), tmp_path, image, image, telemetry={"wall_seconds": seconds})
    assert value(result, "time") == pytest.approx(ranked)


POOLED = {
    "protocol": 1,
    "name": "nodes",
    "labels": {"node": 1},
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "pooled_f1_at_iou", "iou": 0.3}],
}

NUMBERED = [{**POOLED["outputs"][0], "instances": True}]


def test_most_pairs_are_as_many_as_an_assignment_of_scipy_finds():
    for seed in range(200):
        draw = random.Random(seed)
        rows, columns = draw.randint(1, 9), draw.randint(1, 9)
        pairs = [(draw.random(), one, other) for one in range(rows) for other in range(columns) if draw.random() < 0.3]
        weights = np.zeros((rows, columns))
        for _, one, other in pairs:
            weights[one, other] = 1
        best = int(weights[linear_sum_assignment(weights, maximize=True)].sum())
        found = _most_pairs(sorted(pairs, reverse=True))
        assert len(found) == len(set(found.values())) == best
        assert all(weights[one, other] for other, one in found.items())


@pytest.mark.checked(
    "hecktor25",
    what="pooled F1 by hand",
    source="HECKTOR 2025 page",
)
def test_pooled_f1_adds_up_objects_over_cases_and_a_missing_case_counts_as_missed(tmp_path):
    """Found 1 of 2 with one false. 2 of 2. 0 of 1 without a prediction: 2·3 / (6 + 1 + 2)."""
    protocol = load_protocol(POOLED)
    results = [
        scored(protocol, tmp_path, *pair, name=name)
        for name, pair in {
            "a": ((cells(a=(1, 0, 0), b=(1, 8, 0))), cells(a=(1, 0, 1), b=(1, 8, 12))),
            "b": (cells(a=(1, 0, 0), b=(1, 8, 0)), cells(a=(1, 0, 0), b=(1, 8, 0))),
            "c": (cells(a=(1, 0, 0)), None),
        }.items()
    ]
    assert summarise(protocol, results)["pooled_f1_at_iou"]["mean"] == pytest.approx(6 / 9)
    assert summarise(protocol, results[:2])["pooled_f1_at_iou"]["mean"] == pytest.approx(6 / 8)


def test_lesions_of_a_missing_case_are_missed_lesions(tmp_path):
    metrics = [{"name": "pooled_f1", "volume_threshold_mm3": 0}]
    protocol = load_protocol({**POOLED, "metrics": metrics})
    image = cells(shape=(30, 30), a=(1, 0, 0), b=(1, 20, 0))[:, :, None]
    found = scored(protocol, tmp_path, image, None)
    assert value(found, "lesion_false_negatives") == 2.0
    assert summarise(protocol, [found])["pooled_f1"]["mean"] == 0.0


def test_the_options_of_a_pooled_metric_reach_its_counts():
    counts = {spec.id: spec.options for spec in load_protocol(POOLED).metrics if spec.id.startswith("matched_")}
    assert len(counts) == 3
    assert {options["iou"] for options in counts.values()} == {0.3}


def test_instances_need_one_label_map_of_one_label():
    for change in ({"labels": {"node": 1, "other": 2}}, {"outputs": [{**POOLED["outputs"][0], "kind": "table"}]}):
        outputs = [{**item, "instances": True} for item in change.get("outputs", POOLED["outputs"])]
        with pytest.raises(ProtocolError, match="one label map of a single label"):
            load_protocol({**POOLED, **change, "outputs": outputs})


@pytest.mark.checked(
    "cellseg22",
    what="masks are TIFF files called CASE_label.tiff",
    source="JunMa11/NeurIPS-CellSeg baseline/compute_metric.py",
)
@pytest.mark.parametrize(
    ("reference", "prediction"),
    [
        ("c1.tif", "c1_label.tiff"),
        ("c1_label.tiff", "c1_label.tiff"),
        ("c1.tif", "c1.tiff"),
        ("c1.nii.gz", "c1.nii.gz"),
    ],
)
def test_masks_of_cells_are_paired_by_the_names_of_the_challenge_and_by_their_own(tmp_path, reference, prediction):
    protocol = load_named_protocol("cellseg22")
    assert protocol.archive_files("c1") == {"segmentation": "c1_label.tiff"}
    for folder, name in (("references", reference), ("predictions", prediction)):
        (tmp_path / folder).mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(cells(a=(900, 2, 2))), str(tmp_path / folder / name))
    pairing = pair_folders(protocol=protocol, references=tmp_path / "references", predictions=tmp_path / "predictions")
    (case,) = pairing.cases
    assert not pairing.leftover
    found = score_case(
        protocol=protocol,
        case_id=case.case_id,
        references=case.references,
        predictions=case.predictions,
        telemetry={"wall_seconds": 1},
    )
    assert {row.metric: row.value for row in found.rows} == {"f1_at_iou": 1.0, "time": 0.0}
