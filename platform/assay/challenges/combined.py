"""Combined boards: `combined` of `challenge.yaml` names phases whose ranks are put together. Whether the phases are there."""

from django.utils.translation import gettext as _

from assay.challenges.definition import ChallengeDefinition, Reader
from assay.challenges.models import Challenge


def check_combined(*, challenge: Challenge | None, definition: ChallengeDefinition, source: str) -> None:
    """Refuse a combined board over a phase that is not there, at its line. Raises `InvalidError`."""
    known = [phase.slug for phase in definition.phases]
    if challenge is not None:
        known += challenge.phases.exclude(slug__in=known).values_list("slug", flat=True)
    for number, board in enumerate(definition.combined):
        if missing := [slug for slug in board["phases"] if slug not in known]:
            reader = Reader(document=Reader.of_text(source).document, path=("combined", number))
            raise reader.error(
                _("A combined board names a phase that is not there."),
                key="phases",
                found=", ".join(missing),
                expected=_("some of %(slugs)s") % {"slugs": ", ".join(known)},
            )
