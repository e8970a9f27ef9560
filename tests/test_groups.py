"""Tests of one group run in one process: they share what takes long to make, or cannot stand each other."""

import pytest


@pytest.mark.xdist_group("example")
def test_the_id_of_a_test_ends_with_its_group_where_tests_are_dealt_by_groups(request):
    is_dealt = request.config.getoption("loadgroup", default=False)
    assert request.node.nodeid.count("@") == (1 if is_dealt else 0)
    assert request.node.nodeid.endswith("@example") == is_dealt
