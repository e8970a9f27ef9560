"""Questions about test sets."""

from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _

from assay.accounts.errors import NotFoundError
from assay.challenges.models import Challenge, Phase
from assay.testsets.models import Case, TestSet


def testsets_of(*, challenge: Challenge) -> QuerySet[TestSet]:
    """Every version of every test set, newest first, with the number of cases and the phases that use it (three queries)."""
    return (
        challenge.testsets.annotate(case_count=Count("cases"))
        .prefetch_related("phases__phase")
        .order_by("name", "-version")
    )


def get_public_testset(*, challenge: Challenge, name: str, version: int) -> TestSet:
    """Training cases anyone may download. A hidden test set and none at all get the same answer, for everybody."""
    testset = challenge.testsets.filter(name=name, version=version, is_public=True).first()
    if testset is None:
        raise NotFoundError(_("There is no such public test set."), found=f"{name} v{version}")
    return testset


def case_names(phase: Phase) -> list[str]:
    """The names of the cases a phase uses, in their order: for those who hand in predictions, which are named after them."""
    return list(
        Case.objects.filter(testset__phases__phase=phase).order_by("position").values_list("case_id", flat=True)
    )
