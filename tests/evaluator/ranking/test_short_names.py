"""Names that fit and are still told apart."""

import pytest

from evaluator.ranking.short_names import display_width, shorten

LONG = [f"institute-of-imaging-{number}-nnunet-final" for number in (1, 2, 3)]


def test_short_names_stay() -> None:
    assert shorten(["a", "beta"], longest=4) == ("a", "beta")


def test_a_long_name_loses_its_middle() -> None:
    assert shorten(["heidelberg-nnunet-v2", "b"], longest=10) == ("heidel…-v2", "b")


def test_names_that_would_read_the_same_show_where_they_differ() -> None:
    assert shorten(LONG, longest=12) == ("…aging-1-nn…", "…aging-2-nn…", "…aging-3-nn…")


def test_names_that_differ_in_too_much_are_numbered() -> None:
    names = [f"{'x' * 40}{middle}{'y' * 40}{end}{'z' * 40}" for middle in "ab" for end in "cd"]
    texts = shorten(names, longest=12)
    assert len(set(texts)) == 4
    assert texts[0].endswith(" 1")


@pytest.mark.parametrize("longest", [8, 12, 16, 26])
def test_no_text_is_longer_than_allowed(longest: int) -> None:
    assert all(len(text) <= longest for text in shorten([*LONG, "b" * 50, "short"], longest=longest))


def test_chinese_letters_take_two_cells_and_accents_of_their_own_none() -> None:
    assert display_width("日本") == 4
    assert display_width("e\u0301") == 1
