"""Questions about test sets."""

from django.db.models import Count, QuerySet

from assay.challenges.models import Challenge
from assay.testsets.models import TestSet


def testsets_of(*, challenge: Challenge) -> QuerySet[TestSet]:
    """Every version of every test set, newest first, with the number of cases and the phases that use it (three queries)."""
    return (
        challenge.testsets.annotate(case_count=Count("cases"))
        .prefetch_related("phases__phase")
        .order_by("name", "-version")
    )
