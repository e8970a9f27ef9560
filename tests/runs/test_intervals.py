"""How long a fault of ours is waited out."""

from assay.runs.intervals import Intervals


def test_each_pause_is_four_times_the_one_before_and_never_more_than_ten_times_the_first():
    intervals = Intervals(retry_seconds=30)
    pauses = [intervals.retry_delay(failures=failures).total_seconds() for failures in range(1, 6)]
    assert pauses == [30, 120, 300, 300, 300]
