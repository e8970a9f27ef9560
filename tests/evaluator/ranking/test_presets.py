"""Published ranking rules, worked out by hand on boards small enough to check with a pencil."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from evaluator.ranking import ScoreTable, analyse, parse_ranking, rank_algorithms
from evaluator.ranking.document.presets import preset_names
from evaluator.ranking.schemes.prepare import prepare, stored_names
from evaluator.ranking.stability import bootstrap_ranks, draw_clusters


def table(scores, attributes=None) -> ScoreTable:
    """`scores` maps (metric, structure) to {algorithm: values over cases}."""
    return ScoreTable.from_rows(
        (
            (algorithm, f"c{index}", structure, metric, value, "" if value is not None else "timeout")
            for (metric, structure), by_algorithm in scores.items()
            for algorithm, values in by_algorithm.items()
            for index, value in enumerate(values)
        ),
        attributes=attributes,
    )


def rank(name, scores, *, attributes=None, **changes):
    ranking = rank_algorithms(table(scores, attributes), parse_ranking({"preset": name, **changes}))
    return {entry.algorithm: (entry.rank, entry.score) for entry in ranking.entries}


@pytest.mark.checked(
    "flare22",
    what="ranking by hand",
    source="flare22.grand-challenge.org/Evaluation",
)
def test_flare22_weighs_gpu_and_cpu_half_and_gives_a_stuck_container_the_published_values():
    """Case 0: ranks (dice, nsd, time, gpu, cpu) a 1 1 2 2 1, b 2 2 1 1 2. Case 1: a got stuck, last in all five.

    a: (1 + 1 + 2 + ½·2 + ½·1 + 2·4) / 8 = 13.5 / 8. B: (2 + 2 + 1 + ½·1 + ½·2 + 1·4) / 8 = 10.5 / 8.
    """
    scores = {
        ("dice", "liver"): {"a": [0.95, None], "b": [0.90, 0.10]},
        ("nsd", "liver"): {"a": [0.90, None], "b": [0.80, 0.05]},
        ("time", ""): {"a": [20.0, None], "b": [10.0, 3599.0]},
        ("gpu_auc", ""): {"a": [5000.0, None], "b": [0.0, 29000000.0]},
        ("cpu_auc", ""): {"a": [300.0, None], "b": [400.0, 359999.0]},
    }
    assert rank("flare22", scores) == {"b": (1, pytest.approx(10.5 / 8)), "a": (2, pytest.approx(13.5 / 8))}


@pytest.mark.checked(
    "flare21",
    what="ranking by hand",
    source="flare.grand-challenge.org/Evaluation",
)
def test_flare21_divides_the_mean_rank_by_the_number_of_teams():
    metrics = ("dice", "nsd", "time", "gpu_memory")
    scores = {(m, ""): {"a": [0.9], "b": [0.8]} if m in ("dice", "nsd") else {"a": [1.0], "b": [2.0]} for m in metrics}
    assert rank("flare21", scores) == {"a": (1, 0.5), "b": (2, 1.0)}


@pytest.mark.checked(
    "kits23",
    what="ranking by hand",
    source="neheller/kits23 README",
)
def test_kits23_averages_before_ranking_and_breaks_ties_by_tumour_dice():
    """Both means are 0.8. The two surface Dice ranks differ the other way round from nothing: tie, then tumour Dice."""
    scores = {
        ("dice", "kidney"): {"a": [0.9], "b": [0.8]},
        ("dice", "tumor"): {"a": [0.7], "b": [0.8]},
        ("nsd", "kidney"): {"a": [0.6], "b": [0.6]},
        ("nsd", "tumor"): {"a": [0.6], "b": [0.6]},
    }
    assert rank("kits23", scores) == {"b": (1, 1.0), "a": (2, 1.0)}


@pytest.mark.checked(
    "kits21",
    what="ranking by hand",
    source="kits21/evaluation/README.md",
)
def test_kits21_ranks_six_values_and_kits23_two():
    """Dice means: kidney a > b > c, tumour c > b > a: KiTS21 ranks 1 2 3 and 3 2 1, KiTS23 ranks the mean of both."""
    scores = {
        ("dice", "kidney"): {"a": [0.99], "b": [0.90], "c": [0.89]},
        ("dice", "tumor"): {"a": [0.10], "b": [0.20], "c": [0.95]},
        ("nsd", "kidney"): {"a": [0.5], "b": [0.5], "c": [0.5]},
        ("nsd", "tumor"): {"a": [0.5], "b": [0.5], "c": [0.5]},
    }
    assert {name: rank for name, (rank, _) in rank("kits21", scores).items()} == {"a": 1, "b": 1, "c": 1}
    assert {name: rank for name, (rank, _) in rank("kits23", scores).items()} == {"c": 1, "b": 2, "a": 3}


def test_brats_ranks_every_patient_region_and_metric_and_divides_by_teams():
    """Ranks of a: ET dice 1, ET hd95 2, WT dice 1, WT hd95 1 in one patient: mean 1.25, divided by 2 teams."""
    scores = {
        ("dice", "ET"): {"a": [0.9], "b": [0.8]},
        ("hd95", "ET"): {"a": [5.0], "b": [4.0]},
        ("dice", "WT"): {"a": [0.9], "b": [None]},
        ("hd95", "WT"): {"a": [5.0], "b": [None]},
    }
    assert rank("brats", scores) == {"a": (1, 1.25 / 2), "b": (2, 1.75 / 2)}


def test_feta_counts_a_missing_label_as_twice_the_largest_distance_of_the_others():
    scores = {
        ("dice", "csf"): {"a": [0.9, 0.9], "b": [0.8, 0.8]},
        ("volume_similarity", "csf"): {"a": [0.9, 0.9], "b": [0.8, 0.8]},
        ("hd95", "csf"): {"a": [1.0, None], "b": [2.0, 4.0]},
        ("euler_difference", "csf"): {"a": [0, 0], "b": [1, 1]},
    }
    ranking = rank_algorithms(table(scores), parse_ranking({"preset": "feta"}))
    entries = {entry.algorithm: entry for entry in ranking.entries}
    assert entries["a"].aggregates["hd95"] == (1 + 2 * 4) / 2
    assert {name: entry.score for name, entry in entries.items()} == {
        "a": (1 + 1 + 2 + 1) / 4,
        "b": (2 + 2 + 1 + 2) / 4,
    }


@pytest.mark.checked(
    "segrap25-gtv segrap25-lnctv",
    what="ranking by hand",
    source="SegRap2025 evaluate.html",
)
def test_segrap25_ranks_in_each_cohort_and_averages_cohorts_not_cases():
    """Cohort x has three cases, y one. x: a first in both metrics. Y: b first in both. Both 1.5 of 2 teams."""
    attributes = {f"c{i}": {"cohort": "x" if i < 3 else "y"} for i in range(4)}
    values = {"a": [0.9, 0.9, 0.9, 0.1], "b": [0.5, 0.5, 0.5, 0.5]}
    scores = {("dice", "GTVp"): values, ("nsd", "GTVp"): values}
    assert rank("segrap25", scores, attributes=attributes) == {"a": (1, 0.75), "b": (1, 0.75)}


@pytest.mark.checked(
    "segrap23 segrap23-gtv",
    what="ranking by hand",
    source="segrap2023.grand-challenge.org",
)
def test_segrap_ranks_means_per_organ():
    scores = {
        ("dice", "brain"): {"a": [0.9, 0.7], "b": [0.8, 0.9]},
        ("nsd", "brain"): {"a": [0.9, 0.9], "b": [0.8, 0.8]},
    }
    assert rank("segrap", scores) == {"a": (1, 0.75), "b": (1, 0.75)}


@pytest.mark.checked(
    "hecktor25",
    what="ranking by hand",
    source="HECKTOR 2025 page",
)
def test_hecktor25_nests_borda_in_borda():
    """GTVp: a > b > c (2, 1, 0 points). GTVn: pooled Dice c > b > a, F1 b > c > a: b 3, c 3, a 0 → b, c share, a last."""
    pooled = {"a": 2.0, "b": 4.0, "c": 6.0}
    lesions = {"a": 1.0, "b": 3.0, "c": 2.0}
    scores = {
        ("dice", "GTVp"): {"a": [0.9], "b": [0.8], "c": [0.7]},
        ("intersection_voxels", "GTVn"): {name: [value] for name, value in pooled.items()},
        ("reference_voxels", "GTVn"): {name: [10.0] for name in "abc"},
        ("prediction_voxels", "GTVn"): {name: [10.0] for name in "abc"},
        ("true_positives", "GTVn"): {name: [value] for name, value in lesions.items()},
        ("predicted_lesions", "GTVn"): {name: [4.0] for name in "abc"},
        ("reference_lesions", "GTVn"): {name: [4.0] for name in "abc"},
    }
    assert rank("hecktor25", scores) == {"b": (1, 1 + 1.5), "a": (2, 2 + 0), "c": (3, 0 + 1.5)}


@pytest.mark.checked(
    "msd-colon msd-liver msd-pancreas",
    what="ranking by hand",
    source="arXiv 2106.05735",
)
def test_msd_ranks_significance_scores_within_each_task_and_averages_tasks():
    """Task x: a beats b on all of 12 cases in the one structure. Task y: nothing differs, so both are first there."""
    attributes = {f"c{i}": {"task": "x" if i < 12 else "y"} for i in range(24)}
    better = [0.9 + 0.001 * i if i < 12 else None for i in range(24)]
    worse = [0.5 + 0.002 * i if i < 12 else None for i in range(24)]
    rows = [
        (name, f"c{i}", "liver" if i < 12 else "lung", metric, value if i < 12 else 0.7, "")
        for metric in ("dice", "nsd")
        for name, values in {"a": better, "b": worse}.items()
        for i, value in enumerate(values)
    ]
    ranking = rank_algorithms(ScoreTable.from_rows(rows, attributes=attributes), parse_ranking({"preset": "msd"}))
    assert {entry.algorithm: entry.score for entry in ranking.entries} == {"a": 1.0, "b": 1.5}


def test_grand_challenge_leaves_a_submission_with_a_missing_metric_unranked():
    scores = {("dice", ""): {"a": [0.9], "b": [0.8], "c": [0.7]}, ("hd95", ""): {"a": [9.0], "b": [None], "c": [1.0]}}
    assert rank("grand-challenge-avg", scores) == {"a": (1, 1.5), "c": (1, 1.5), "b": (None, None)}


@pytest.mark.checked(
    "touchstone",
    what="ranking by hand",
    source="MrGiovanni/Touchstone plot/SignificanceMaps.py",
)
def test_touchstone_orders_by_the_median_over_cases_of_the_mean_over_organs():
    scores = {
        ("dice", "liver"): {"a": [0.9, 0.8, 0.1], "b": [0.7, 0.7, 0.7]},
        ("dice", "aorta"): {"a": [0.7, None, 0.1], "b": [0.7, None, 0.7]},
    }
    found = rank("touchstone", scores)
    assert found == {"a": (1, pytest.approx(0.8)), "b": (2, pytest.approx(0.7))}


def test_empire_shares_the_mean_of_tied_ranks_per_case():
    metrics = ("lung_boundaries", "fissures", "landmarks", "singularities")
    scores = {(metric, ""): {"a": [0.0], "b": [0.0], "c": [1.0]} for metric in metrics}
    assert rank("empire", scores) == {"a": (1.5, 1.5), "b": (1.5, 1.5), "c": (3, 3.0)}


def test_drac_ranks_dice_and_asks_iou_only_in_ties():
    scores = {("dice", ""): {"a": [0.8], "b": [0.8], "c": [0.9]}, ("iou", ""): {"a": [0.7], "b": [0.6], "c": [0.1]}}
    assert {name: place for name, (place, _) in rank("drac22", scores).items()} == {"c": 1, "a": 2, "b": 3}


def random_board(config, *, algorithms=4, cases=9) -> ScoreTable:
    """Scores of everything a configuration can ask for. The last algorithm failed one case."""
    random = np.random.default_rng(3)
    names = [name for spec in config.metrics for name in stored_names(spec)]
    rows = [
        (
            f"a{index}",
            f"c{case}",
            structure,
            name,
            None if failed else float(random.integers(1, 9)) / 10,
            "timeout" if failed else "",
        )
        for index in range(algorithms)
        for case in range(cases)
        for structure in ("tumor", "GTVp", "GTVn")
        for name in names
        for failed in [index == algorithms - 1 and case == 0]
    ]
    attributes = {
        f"c{case}": {"task": "xy"[case % 2], "cohort": "xyz"[case % 3], "diagonal_mm": "300", "sex": "fm"[case % 2]}
        for case in range(cases)
    }
    return ScoreTable.from_rows(rows, attributes=attributes)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_ranks_and_examines_a_board_and_never_rewards_a_failure(name):
    config = parse_ranking({"preset": name, "significance": {"test": "wilcoxon"}})
    analysis = analyse(random_board(config), config, bootstrap=15)
    assert sorted(entry.algorithm for entry in analysis.ranking.entries) == ["a0", "a1", "a2", "a3"]
    assert not any("no missing rule" in note for note in analysis.ranking.notes)
    ranked = [entry.rank for entry in analysis.ranking.entries if entry.rank is not None]
    assert ranked == sorted(ranked)
    assert analysis.rank_samples.shape == (15, len(ranked))
    assert np.isfinite(analysis.rank_samples).all()
    json.dumps(analysis.to_json(), allow_nan=False)


def resampled(board: ScoreTable, drawn: Sequence[int], *, algorithms: Sequence[str]) -> ScoreTable:
    """The board with each case as often as it was drawn, every copy a case of its own."""
    copies = [(case, f"{case} copy {copy}") for case, count in enumerate(drawn) for copy in range(count)]
    rows = [
        (name, copy, structure, metric, None if np.isnan(value) else float(value), reason)
        for metric, scores in board.metrics.items()
        for name in algorithms
        for label, structure in enumerate(scores.structures)
        for case, copy in copies
        for value in [scores.values[board.algorithms.index(name), label, case]]
        for reason in [board.reason_names[scores.reasons[board.algorithms.index(name), label, case]]]
    ]
    return ScoreTable.from_rows(rows, attributes={copy: board.attributes[board.cases[case]] for case, copy in copies})


REPEATING = [name for name in preset_names() if not parse_ranking({"preset": name}).stability.follows_challenger]


@pytest.mark.parametrize("name", REPEATING)
def test_a_bootstrap_of_every_preset_equals_ranking_each_resampled_board(name):
    config = parse_ranking({"preset": name, "significance": {"test": "wilcoxon"}})
    board = random_board(config, cases=12)
    prepared = prepare(board, config)
    draws = draw_clusters(prepared, count=4, seed=2)
    found = bootstrap_ranks(prepared, draws)
    assert len(found) == 4
    for ranks, drawn in zip(found, draws.multiplicities.astype(int), strict=True):
        ranking = rank_algorithms(resampled(board, drawn, algorithms=prepared.algorithms), config).ranks()
        assert [ranking[algorithm] for algorithm in prepared.algorithms] == ranks.tolist()


def test_panther_takes_the_mean_of_five_ranks_of_means():
    """Ranks of the means (dice, nsd, masd, hd95, squared error): a 1 1 2 1 2, b 2 2 1 2 1. The errors 9 and 1 are RMSE √5 against √4."""
    scores = {
        ("dice", "tumour"): {"a": [0.9, 0.5], "b": [0.8, 0.4]},
        ("nsd", "tumour"): {"a": [0.9, 0.5], "b": [0.8, 0.4]},
        ("masd", "tumour"): {"a": [3.0, 5.0], "b": [2.0, 5.0]},
        ("hd95", "tumour"): {"a": [9.0, 10.0], "b": [9.0, 11.0]},
        ("volume_squared_error", "tumour"): {"a": [9.0, 1.0], "b": [4.0, 4.0]},
    }
    assert rank("panther", scores) == {"a": (1, pytest.approx(1.4)), "b": (2, pytest.approx(1.6))}
