"""Codes and facts are stored, sentences are made where they are shown."""

import re
import string

import pytest
from django.utils import translation

import evaluator.errors
from assay.submissions.models import Submission
from assay.submissions.reasons import (
    CASE_REASONS,
    CLAUSES,
    FACTS,
    FOR_ORGANIZERS,
    OF_ALGORITHMS,
    OF_CLAUSES,
    SENTENCES,
    Reason,
    Told,
    case_reason_words,
    sentence,
    told_of,
    words_for_organizers,
)
from containers.verdicts import Reason as CaseReason
from containers.verdicts import Verdict
from evaluator.scoring import ROW_MISSING

SAMPLES = {str: "text", int: 3, float: 2.5}
RESOURCES = {"wall_seconds": 5, "memory_mb": 2048, "output_mb": 64}


def fields(text) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", str(text)))


def test_every_reason_has_a_sentence_that_uses_exactly_its_facts():
    assert set(SENTENCES) == set(Reason)
    assert {reason: fields(text) for reason, text in SENTENCES.items()} == {
        reason: set(FACTS.get(reason, {})) for reason in Reason
    }


def test_every_clause_uses_the_facts_that_call_for_it():
    assert {needed: fields(text) - {"cause"} for needed, text in CLAUSES.items()} == {
        needed: set(needed) for needed in CLAUSES
    }
    assert set().union(*CLAUSES) == set(OF_CLAUSES)
    assert all("cause" in fields(text) for text in CLAUSES.values())


def test_organizers_read_what_their_own_fault_was():
    """Each fault of theirs in words of its own, and never that they are told: they are the ones who read it."""
    assert {reason: fields(text) for reason, text in FOR_ORGANIZERS.items()} == {
        reason: set(FACTS.get(reason, {})) for reason in FOR_ORGANIZERS
    }
    told = {reason: words_for_organizers(reason, {"detail": "no wheel of numpy"}) for reason in FOR_ORGANIZERS}
    assert told[Reason.BUILD_FAULT].endswith("your base image and wheels: no wheel of numpy")
    assert "reference" in told[Reason.REFERENCE_INVALID]
    assert "metric image" in told[Reason.METRICS_FAILED]
    assert not any("not charged" in words or "are told" in words for words in told.values())
    assert words_for_organizers("time_limit", {"seconds": 5}) == "time limit of 5 s reached"
    assert words_for_organizers("of_a_newer_assay", {}) == "of a newer assay"


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("language", ["en-gb", "de"])
def test_every_reason_can_be_told_in_every_language(reason, language):
    facts = {name: SAMPLES[kind] for name, kind in FACTS.get(reason, {}).items()}
    more = {"case_reason": "missing", "in_a_row": 3, "failed": 2, "total": 4} if reason in OF_ALGORITHMS else {}
    told = Told(reason=reason, facts={**facts, **more})
    with translation.override(language):
        text = sentence(told.reason, told.facts)
    assert text
    assert "%(" not in text
    assert "{" not in text


@pytest.mark.parametrize(
    ("reason", "facts"),
    [
        (None, {"failed": 1}),
        (Reason.CANCELLED, {"failed": 1, "total": 2}),
        (Reason.TIME_LIMIT, {}),
        (Reason.TIME_LIMIT, {"seconds": "5"}),
        (Reason.TIME_LIMIT, {"seconds": True}),
        (Reason.TIME_LIMIT, {"seconds": 5, "page": "x"}),
        (Reason.TIME_LIMIT, {"seconds": 5, "failed": 1}),
        (Reason.IMAGE_REFUSED, {"detail": "x" * 301}),
        (Reason.CASES_FAILED, {"failed": 1.0, "total": 2, "case_reason": "missing"}),
    ],
)
def test_facts_that_a_reason_does_not_have_are_never_stored(reason, facts):
    with pytest.raises(ValueError, match="found"):
        Told(reason=reason, facts=facts)


def test_what_a_newer_assay_stored_is_shown_as_its_code():
    assert sentence("struck_by_lightning", {}) == "struck by lightning"
    assert sentence("time_limit", {}) == "time limit"


def test_a_row_from_before_there_were_reasons_keeps_its_sentence():
    assert (
        Submission(verdict="timeout", earlier_text="time limit of 5 s reached").verdict_text
        == "time limit of 5 s reached"
    )
    assert Submission().verdict_text == ""


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict != Verdict.OK])
def test_every_verdict_but_a_good_one_says_something(verdict):
    told = told_of(verdict, resources=RESOURCES)
    assert sentence(told.reason, told.facts)


def test_what_an_algorithm_did_is_said_with_its_clauses():
    facts = {"in_a_row": 3, "failed": 6, "total": 6}
    told = told_of("timeout", resources={"wall_seconds": 0.05, "wall_seconds_per": "case"}, **facts)
    assert sentence(told.reason, told.facts) == (
        "time limit of 0.05 s per case reached on 3 cases in a row; 6 of 6 cases failed"
    )


def test_every_reason_of_a_case_has_words():
    known = {*map(str, CaseReason), *map(str, evaluator.errors.Reason), ROW_MISSING} - {""}
    assert known - set(CASE_REASONS) == set()
    assert case_reason_words("affine_mismatch") == "affine mismatch"
    assert case_reason_words("of_tomorrow") == "of tomorrow"
    assert [words for words in CASE_REASONS.values() if set(words) - set(string.ascii_lowercase + " ")] == []
