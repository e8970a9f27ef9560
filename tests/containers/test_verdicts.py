"""One precedence table: every verdict alone, and every pair."""

import itertools

import pytest

from containers.verdicts import Ending, Fault, Reason, Verdict, judge, most_important

CAUSES = {
    Verdict.CANCELLED: {"is_cancelled": True},
    Verdict.INFRASTRUCTURE: {"platform_problem": Reason.ENGINE_UNREACHABLE},
    Verdict.IMAGE_INVALID: {"image_problem": Reason.ENTRY_POINT_NOT_RUNNABLE},
    Verdict.TIMEOUT: {"wall_seconds": 5.001, "wall_limit_seconds": 5.0},
    Verdict.OUT_OF_MEMORY: {"is_out_of_memory": True},
    Verdict.OUTPUT_TOO_LARGE: {"output_excess": Reason.BYTES_LIMIT},
    Verdict.NONZERO_EXIT: {"exit_code": 3},
    Verdict.OUTPUT_MISSING: {"output_problem": (Verdict.OUTPUT_MISSING, Reason.MISSING)},
    Verdict.OUTPUT_INVALID: {"output_problem": (Verdict.OUTPUT_INVALID, Reason.SYMLINK)},
}


def test_nothing_wrong_is_ok():
    assert judge(Ending()) == (Verdict.OK, Reason.NONE)


@pytest.mark.parametrize(("verdict", "observed"), list(CAUSES.items()))
def test_one_cause_gives_its_verdict(verdict, observed):
    assert judge(Ending(**observed))[0] is verdict


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(CAUSES, 2)))
def test_of_two_causes_the_one_listed_first_wins(first, second):
    if {"output_problem"} == CAUSES[first].keys() & CAUSES[second].keys():
        return  # one observation cannot be two things
    assert judge(Ending(**(CAUSES[second] | CAUSES[first])))[0] is first


def test_reaching_the_time_limit_exactly_is_allowed():
    assert judge(Ending(wall_seconds=5.0, wall_limit_seconds=5.0))[0] is Verdict.OK


def test_exit_137_alone_is_not_out_of_memory():
    assert judge(Ending(exit_code=137)) == (Verdict.NONZERO_EXIT, Reason.NONE)


def test_a_child_killed_for_memory_counts_although_the_parent_exited_with_0():
    ending = Ending(is_out_of_memory=True, exit_code=0)
    assert judge(ending) == (Verdict.OUT_OF_MEMORY, Reason.CHILD_KILLED_FOR_MEMORY)


def test_a_file_too_large_keeps_its_own_reason():
    ending = Ending(output_problem=(Verdict.OUTPUT_TOO_LARGE, Reason.FILE_TOO_LARGE))
    assert judge(ending) == (Verdict.OUTPUT_TOO_LARGE, Reason.FILE_TOO_LARGE)


def test_only_our_own_fault_is_retried():
    assert [verdict for verdict in Verdict if verdict.is_retried] == [Verdict.INFRASTRUCTURE]
    assert Verdict.INFRASTRUCTURE.fault is Fault.PLATFORM


def test_success_and_cancellation_are_nobodys_fault_and_the_rest_is_the_participants():
    assert Verdict.OK.fault is Verdict.CANCELLED.fault is Fault.NONE
    organizers = {Verdict.REFERENCE_INVALID, Verdict.METRICS_FAILED}
    participants = set(Verdict) - {Verdict.OK, Verdict.CANCELLED, Verdict.INFRASTRUCTURE} - organizers
    assert {verdict.fault for verdict in participants} == {Fault.PARTICIPANT}


def test_no_cause_is_ok():
    assert most_important([]) is Verdict.OK
