"""Which numbers about groups of patients may leave a hospital. Pure arithmetic, used by the site that releases and the server that checks.

Theory of operation. A release holds means, and a mean with its count is a sum. A reader of the release can add and subtract these
sums. A number about few patients therefore leaks as soon as *some combination* of released sums depends on fewer than `k` patients,
even if each released group is large. The rule here is: every combination of released sums that is not zero depends on at least `k`
patients. Three kinds of combination matter for one metric, whose headline is the mean over cases of each case's mean over labels.

1. *A partition with a hidden part.* Total minus the released groups of an attribute is the sum over the hidden groups. These must
   hold no patient or at least `k`, so a further group is hidden with a small one.
2. *Two partitions.* With the sums by scanner and by sex, a combination is a weight per scanner plus a weight per sex. Draw scanners
   and sexes as nodes and each patient as an edge between the two. The fewest patients a combination depends on is the smallest number
   of edges whose removal splits the drawing: a minimum cut (Stoer and Wagner 1997), which must be at least `k`. For three and more
   partitions a simpler rule is enough: every non-empty intersection must hold at least `k` patients.
3. *Labels against the headline.* A case that lacks a label divides by a smaller number than the others. If one patient lacks one
   organ, the headline minus the label means gives that patient's own mean. Patients are put into classes by which labels they have.
   If all but fewer than `k` patients cancel, the label means are withheld.

Standard deviations need 20 cases. Minimum, maximum, median and percentiles never leave: each is the value of one patient. Counts are
numbers about patients too, and follow the same rule (`count_audit.py`): where they would single out 1 to `k - 1` cases, the counts of that
partition are withheld (`n` is null).

Releases add up: over versions of the data, and over groupings that changed with the rules. `history.py` holds a further release against
what the site released before. Two different submissions are different unknowns, even on the same data: that two algorithms agree in all
patients but one is known to their authors alone, and no rule about sums can see it. The agreed number of releases bounds this.
"""

from evaluator.disclosure.counts import CountProblem, check_counts
from evaluator.disclosure.history import Told
from evaluator.disclosure.release import (
    SMALLEST_GROUP,
    SPREAD_GROUP,
    MetricRelease,
    TooFewCases,
    release_metric,
    release_pooled,
    shown_groups,
)

__all__ = [
    "SMALLEST_GROUP",
    "SPREAD_GROUP",
    "CountProblem",
    "MetricRelease",
    "Told",
    "TooFewCases",
    "check_counts",
    "release_metric",
    "release_pooled",
    "shown_groups",
]
