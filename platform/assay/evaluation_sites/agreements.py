"""Agreements both ways: an organizer offers terms about one data set, the site signs them. Work is ordered under a signed one only.

The terms hold the hash of the rules, the evaluator's version and the root of the data. A changed protocol, another evaluator or other
data therefore stops the work until both have agreed again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.translation import gettext

from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import Team, User
from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluation_sites.log import append_line, sign_here
from assay.evaluation_sites.models import Site, SiteAgreement, SiteDataset, SiteEvaluation
from assay.evaluation_sites.releases import DECIMALS, LONGEST_NAME, MOST_GROUPS
from assay.evaluation_sites.signing import check_said
from assay.signatures import document_hash
from assay.testsets.models import Case, PhaseTestSet
from evaluator import __version__ as evaluator_version
from evaluator.disclosure import SMALLEST_GROUP

KIND, ACCEPTANCE = "assay-site-agreement", "assay-site-acceptance"
USUAL_DAYS, LONGEST_DAYS = 365, 5 * 366
USUAL_RELEASES, MOST_RELEASES = 200, 10_000
LONGEST_KEY = 64
MOST_REVIEWERS, MOST_CLEAN, MOST_TEAMS = 2, 1000, 200
PUBLISHED = (SiteEvaluation.Status.RELEASED, SiteEvaluation.Status.RECALLED)
"""What was once read by others stays read, so a recalled release counts too."""


@dataclass(frozen=True, kw_only=True)
class TermOptions:
    """What terms may say beyond the usual. The site reads all of it before it signs."""

    teams: tuple[str, ...] = ()
    """Short names of the teams whose submissions are run. None named: all teams."""
    reviewers: int = 1
    """How many different people at the site have to approve a result."""
    automatic_after: int = 0
    """After so many clean results in a row, that people approved, a clean one is released without asking. 0: never."""


def _check_options(options: TermOptions) -> None:
    if not (1 <= options.reviewers <= MOST_REVIEWERS and 0 <= options.automatic_after <= MOST_CLEAN):
        raise InvalidError(
            gettext("These terms cannot be offered."),
            found=gettext("%(reviewers)s reviewers, automatic after %(clean)s results")
            % {"reviewers": options.reviewers, "clean": options.automatic_after},
            expected=gettext("1 or %(reviewers)s reviewers, 0 to %(clean)s results")
            % {"reviewers": MOST_REVIEWERS, "clean": MOST_CLEAN},
            field="automatic_after" if 1 <= options.reviewers <= MOST_REVIEWERS else "reviewers",
        )
    known = set(Team.objects.filter(slug__in=options.teams[:MOST_TEAMS]).values_list("slug", flat=True))
    unknown = [name for name in options.teams if name not in known]
    if unknown:
        raise InvalidError(
            gettext("These terms name a team that does not exist."),
            found=", ".join(unknown)[:200],
            expected=gettext("short names of teams, at most %(most)s of them") % {"most": MOST_TEAMS},
            field="teams",
        )


def offer_agreement(
    site: Site,
    *,
    dataset: SiteDataset,
    by: User,
    now: datetime,
    days: int = USUAL_DAYS,
    most_releases: int = USUAL_RELEASES,
    options: TermOptions = TermOptions(),
) -> SiteAgreement:
    """Accept the site's data and offer terms about it. Raises InvalidError, ConflictError."""
    _check_options(options)
    if not 1 <= days <= LONGEST_DAYS or not 1 <= most_releases <= MOST_RELEASES:
        raise InvalidError(
            gettext("These terms cannot be offered."),
            found=gettext("%(days)s days, %(releases)s releases") % {"days": days, "releases": most_releases},
            expected=gettext("1 to %(days)s days, 1 to %(releases)s releases")
            % {"days": LONGEST_DAYS, "releases": MOST_RELEASES},
            field="most_releases" if 1 <= days <= LONGEST_DAYS else "days",
        )
    if not site.public_key or site.is_waiting or site.revoked_at is not None:
        raise ConflictError(
            gettext("Only a site with an approved key signs an agreement."),
            code="site_not_approved",
            what_to_do=gettext("Let it join with a code, and approve its words."),
        )
    _refuse_close_versions(site, dataset)
    protocol = site.phase.protocol
    with transaction.atomic():
        Site.objects.select_for_update().get(pk=site.pk)
        number = site.agreements.count() + 1
        ends_at = now + timedelta(days=days)
        terms = sign_here(
            {
                "kind": KIND,
                "number": number,
                "challenge": site.phase.challenge.slug,
                "phase": site.phase.slug,
                "site": site.name,
                "site_key": site.public_key,
                "data_root": dataset.root_sha256,
                "case_count": dataset.case_count,
                "protocol_sha256": rules_of(protocol).sha256,
                "evaluator": evaluator_version,
                "metrics": [spec.id for spec in rules_of(protocol).metrics],
                "groups": groups_of(site.phase),
                "smallest_group": SMALLEST_GROUP,
                "decimals": DECIMALS,
                "most_releases": most_releases,
                "teams": sorted(options.teams),
                "reviewers": options.reviewers,
                "automatic_after": options.automatic_after,
                "offered_at": now.isoformat(),
                "ends_at": ends_at.isoformat(),
            }
        )
        agreement = SiteAgreement.objects.create(
            site=site,
            dataset=dataset,
            protocol=protocol,
            number=number,
            terms=terms,
            terms_sha256=document_hash(terms),
            most_releases=most_releases,
            offered_at=now,
            offered_by=by,
            ends_at=ends_at,
        )
        record_event(
            verb="site.agreement_offered",
            subject=site,
            now=now,
            actor=by,
            challenge_slug=site.phase.challenge.slug,
            agreement=number,
            root=dataset.root_sha256,
        )
    return agreement


def groups_of(phase: Phase) -> dict[str, list[str]]:
    """Attribute of the protocol → names of its groups, as the organizers wrote them in the phase's own test set."""
    chosen = PhaseTestSet.objects.filter(phase=phase).first()
    cases = Case.objects.filter(testset=chosen.testset_id).values_list("attributes", flat=True) if chosen else ()
    stated = list(cases)
    return {
        name: sorted({str(attributes[name])[:LONGEST_NAME] for attributes in stated if attributes.get(name)})[
            :MOST_GROUPS
        ]
        for name in rules_of(phase.protocol).breakdowns
    }


def _refuse_close_versions(site: Site, dataset: SiteDataset) -> None:
    """Two versions of a site's data that differ by a few patients would give these patients away, if both were released."""
    earlier = SiteDataset.objects.filter(site=site, evaluations__status__in=PUBLISHED).exclude(pk=dataset.pk).distinct()
    for other in earlier:
        difference = abs(other.case_count - dataset.case_count)
        if 0 < difference < SMALLEST_GROUP:
            raise ConflictError(
                gettext("This data differs from earlier data of the site by too few patients."),
                code="versions_too_close",
                found=gettext("%(earlier)s cases that have released results, and %(now)s now")
                % {"earlier": other.case_count, "now": dataset.case_count},
                expected=gettext("the same number, or at least %(smallest)s more or fewer")
                % {"smallest": SMALLEST_GROUP},
                what_to_do=gettext(
                    "The results of both would give away the few patients. Keep the earlier data, or wait for more cases."
                ),
            )


def newest_agreement(site: Site) -> SiteAgreement | None:
    """The newest terms, signed by the site or not yet."""
    return site.agreements.select_related("dataset", "protocol").order_by("-number").first()


def accept_agreement(site: Site, *, said: dict[str, Any], now: datetime) -> SiteAgreement:
    """The site signs the newest terms. Raises ConflictError where there are none, or others by now."""
    agreement = newest_agreement(site)
    if agreement is None or said.get("terms_sha256") != agreement.terms_sha256:
        raise ConflictError(
            gettext("These are not the newest terms that were offered."),
            code="terms_differ",
            what_to_do=gettext("Read the newest ones: `assay site agree`."),
        )
    expected = {"kind": ACCEPTANCE, "terms_sha256": agreement.terms_sha256}
    if "sealing_key" in said:  # for images that travel on a stick: `bundles.py`
        expected["sealing_key"] = str(said["sealing_key"])[:LONGEST_KEY]
    check_said(said, site=site, expected=expected)
    with transaction.atomic():
        if not SiteAgreement.objects.filter(pk=agreement.pk, accepted_at=None).update(accepted_at=now, acceptance=said):
            return agreement
        append_line(site=site, kind="agreement", document=said, now=now)
        record_event(
            verb="site.agreement_accepted",
            subject=site,
            now=now,
            actor_label=f"site {site.name}",
            challenge_slug=site.phase.challenge.slug,
            agreement=agreement.number,
        )
    agreement.accepted_at, agreement.acceptance = now, said
    return agreement


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Whether work may be ordered from a site, and if not, why: a code for programs and a sentence for people."""

    agreement: SiteAgreement | None
    code: str = ""
    words: str = ""

    @property
    def holds(self) -> bool:
        """Whether work may be ordered."""
        return not self.code


def standing_of(site: Site, *, now: datetime) -> Standing:
    """Where the agreement with a site stands. Two queries."""
    agreement = newest_agreement(site)
    if agreement is None:
        return Standing(
            agreement=None,
            code="no_agreement",
            words=gettext("The organizers have not offered terms yet. They look at the data that was added first."),
        )
    if agreement.accepted_at is None:
        words = gettext("The site has not signed the newest terms yet: `assay site agree`.")
        return Standing(agreement=agreement, code="not_signed", words=words)
    if agreement.terms["protocol_sha256"] != rules_of(site.phase.protocol).sha256:
        words = gettext(
            "The rules have changed since both agreed. The organizers must offer new terms, and the site must sign."
        )
        return Standing(agreement=agreement, code="rules_changed", words=words)
    if agreement.terms["evaluator"] != evaluator_version:
        words = gettext(
            "The evaluator has changed since both agreed. The organizers must offer new terms, and the site must sign."
        )
        return Standing(agreement=agreement, code="evaluator_changed", words=words)
    if agreement.terms["site_key"] != site.public_key and not _follows(site, agreement):
        words = gettext(
            "The site has joined again since both agreed. The organizers must offer new terms, and the site must sign."
        )
        return Standing(agreement=agreement, code="key_changed", words=words)
    if agreement.ends_at <= now:
        words = gettext("The agreement has ended. The organizers may offer new terms.")
        return Standing(agreement=agreement, code="ended", words=words)
    if releases_left(agreement) <= 0:
        words = gettext("As many results as were agreed have been released on this data. New terms may allow more.")
        return Standing(agreement=agreement, code="budget_spent", words=words)
    return Standing(agreement=agreement)


def _follows(site: Site, agreement: SiteAgreement) -> bool:
    """Whether the key of today came from the agreement's by changes that each earlier key signed, without joining again since."""
    return site.joined_at is not None and site.joined_at <= agreement.offered_at


def releases_left(agreement: SiteAgreement) -> int:
    """How many more results may be released on the agreement's data. All agreements about the same data count together."""
    released = SiteEvaluation.objects.filter(dataset=agreement.dataset, status__in=PUBLISHED).count()
    return agreement.most_releases - released


def require_standing(site: Site, *, now: datetime) -> SiteAgreement:
    """The agreement under which work may be ordered. Raises ConflictError with the reason."""
    standing = standing_of(site, now=now)
    if not standing.holds or standing.agreement is None:
        raise ConflictError(standing.words, code=standing.code)
    return standing.agreement
