"""What holds for every ranking, whatever the scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.ranking import ScoreTable, parse_ranking, rank_algorithms
from evaluator.ranking.analysis import analyse
from evaluator.ranking.board import Board

pytestmark = pytest.mark.slow

SCHEMES = {
    "value": {"type": "value"},
    "median": {"type": "value", "aggregate": "median"},
    "mean of metric ranks": {"type": "mean_of_ranks"},
    "mean of case ranks": {"type": "mean_of_ranks", "rank_at": ["case"]},
    "flat mean of case ranks": {"type": "mean_of_ranks", "rank_at": ["case", "structure"], "nesting": "flat"},
    "median of case ranks": {"type": "median_of_ranks", "rank_at": ["case"]},
    "borda": {"type": "borda", "rank_at": ["case"]},
    "significance": {"type": "significance"},
    "consensus": {"type": "consensus", "rank_at": ["case"], "consensus": "copeland"},
}
ONE_DIRECTION = ("value", "median")
values = st.one_of(st.none(), st.integers(0, 20).map(lambda n: n / 20))
boards = st.integers(2, 5).flatmap(
    lambda algorithms: st.integers(1, 6).flatmap(
        lambda cases: st.lists(
            st.lists(values, min_size=cases, max_size=cases), min_size=algorithms, max_size=algorithms
        )
    )
)
properties = settings(max_examples=25, deadline=None)
assert SCHEMES


def rows_of(board, *, metric="dice", names=None):
    names = names or [f"a{i}" for i in range(len(board))]
    return [
        (name, f"c{case}", "", metric, value, "")
        for name, scores in zip(names, board, strict=True)
        for case, value in enumerate(scores)
    ]


def config_of(scheme: str, *, missing="rank_last", **more):
    return parse_ranking({"metrics": ["dice"], "scheme": SCHEMES[scheme], "missing": {"any": missing}, **more})


def ranks_of(rows, config):
    return dict(rank_algorithms(ScoreTable.from_rows(rows), config).ranks())


@pytest.mark.parametrize("scheme", SCHEMES)
@properties
@given(board=boards, data=st.data())
def test_the_order_of_rows_changes_nothing(scheme, board, data):
    rows = rows_of(board)
    config = config_of(scheme)
    shuffled = data.draw(st.permutations(rows))
    before = rank_algorithms(ScoreTable.from_rows(rows), config)
    after = rank_algorithms(ScoreTable.from_rows(shuffled), config)
    assert before == after


@pytest.mark.parametrize("scheme", SCHEMES)
@properties
@given(board=boards, data=st.data())
def test_renaming_cases_changes_no_rank(scheme, board, data):
    order = data.draw(st.permutations(range(len(board[0]))))
    config = config_of(scheme)
    renamed = [[scores[index] for index in order] for scores in board]
    assert ranks_of(rows_of(board), config) == ranks_of(rows_of(renamed), config)


@pytest.mark.parametrize("scheme", SCHEMES)
@properties
@given(board=boards, data=st.data())
def test_renaming_algorithms_renames_their_ranks(scheme, board, data):
    names = data.draw(st.permutations([f"a{i}" for i in range(len(board))]))
    config = config_of(scheme)
    plain, renamed = ranks_of(rows_of(board), config), ranks_of(rows_of(board, names=names), config)
    assert {f"a{i}": renamed[name] for i, name in enumerate(names)} == plain


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("missing", ["rank_last", "drop_pair", 0])
@properties
@given(board=boards)
def test_a_copy_of_an_algorithm_ties_with_it(scheme, missing, board):
    names = [f"a{i}" for i in range(len(board))]
    ranks = ranks_of(rows_of([*board, board[0]], names=[*names, "copy"]), config_of(scheme, missing=missing))
    assert ranks["copy"] == ranks["a0"]


@pytest.mark.parametrize("scheme", ["value", "mean of metric ranks"])
@properties
@given(board=boards, data=st.data())
def test_improving_one_value_never_worsens_the_own_rank_in_mean_then_rank(scheme, board, data):
    case = data.draw(st.integers(0, len(board[0]) - 1))
    better = data.draw(st.integers(0, 20)) / 20
    config = config_of(scheme)
    before = ranks_of(rows_of(board), config)["a0"]
    improved = [list(scores) for scores in board]
    improved[0][case] = max(better, -1.0 if board[0][case] is None else board[0][case])
    assert ranks_of(rows_of(improved), config)["a0"] <= before


@pytest.mark.parametrize("scheme", SCHEMES)
@properties
@given(board=boards)
def test_an_algorithm_without_values_never_ranks_above_one_with_numbers(scheme, board):
    full = [[0.0 if value is None else value for value in scores] for scores in board]
    names = [*(f"a{i}" for i in range(len(board))), "nothing"]
    ranks = ranks_of(rows_of([*full, [None] * len(board[0])], names=names), config_of(scheme))
    assert all(ranks["nothing"] >= rank for rank in ranks.values())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_removing_values_never_helps_when_the_worst_value_counts(scheme):
    random = np.random.default_rng(5)
    for _ in range(20):
        board = random.integers(1, 20, (4, 6)) / 20
        config = config_of(scheme, missing=0)
        before = ranks_of(rows_of(board.tolist()), config)["a0"]
        holed = board.tolist()
        holed[0][int(random.integers(6))] = None
        assert ranks_of(rows_of(holed), config)["a0"] >= before


@pytest.mark.parametrize("adjust", ["none", "holm", "bh", "bonferroni"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_board_that_grows_equals_one_that_was_ranked_at_once(scheme, adjust):
    random = np.random.default_rng(11)
    board = np.round(random.beta(8, 2, (9, 30)), 2).tolist()
    board[3] = board[1]
    config = config_of(scheme, missing=0, significance={"adjust": adjust})
    live = Board(config=config, table=ScoreTable.from_rows(rows_of(board[:5])))
    live.rank()
    for index in range(5, 9):
        live.put(rows_of(board[index : index + 1], names=[f"a{index}"]))
        live.rank()
    live.put(rows_of([board[0]], names=["a2"]))
    live.remove("a4")
    grown = live.rank()
    names = [f"a{i}" for i in range(9) if i != 4]
    final = [board[0] if name == "a2" else board[int(name[1:])] for name in names]
    at_once = rank_algorithms(ScoreTable.from_rows(rows_of(final, names=names)), config)
    assert grown.entries == at_once.entries


def test_the_same_seed_gives_the_same_analysis_and_another_seed_another():
    random = np.random.default_rng(2)
    table = ScoreTable.from_rows(rows_of(random.random((5, 12)).tolist()))
    config = config_of("value")
    first, second, third = (analyse(table, config, bootstrap=50, seed=seed) for seed in (3, 3, 4))
    assert first.to_json() == second.to_json()
    assert not np.array_equal(first.rank_samples, third.rank_samples)
