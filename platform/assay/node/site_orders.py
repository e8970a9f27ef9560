"""One submission to evaluate, as a site is given it: by the server, or in a bundle on a stick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.node.orders import FileOrder
from assay.node.site_bundle import SiteBundle
from assay.node.site_problems import SiteProblem
from evaluator import __version__ as evaluator_version


@dataclass(frozen=True, kw_only=True)
class SiteOrder:
    """One submission to evaluate. `signed` is the server's signed order. A site without a key gets none."""

    evaluation_id: str
    fence: int
    lease_seconds: float
    submission: str
    root_sha256: str
    protocol: Mapping[str, Any]
    image_id: str
    image: FileOrder
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Attribute → names of groups that may stand in a release."""
    signed: Mapping[str, Any] | None = None
    sealed_bytes: int = 0
    """Length of the image as the server seals it to this site's key. 0: it does not."""
    bundle: SiteBundle | None = None
    """The file it came in, where the site has no network."""

    def lease(self) -> dict[str, Any]:
        """How the server is told which evaluation is meant."""
        return {"evaluation_id": self.evaluation_id, "fence": self.fence}


def order_of(answer: Mapping[str, Any], *, bundle: SiteBundle | None = None) -> SiteOrder:
    """The order in the server's answer. Refuses to score with another evaluator than the server's. Raises SiteProblem."""
    try:
        return _order_of(answer, bundle=bundle)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SiteProblem(
            f"the order cannot be read: found {error!r}; expected an order as this version of the program knows it. What to do: ask again. "
            "If it stays, install the server's version"
        ) from error


def _order_of(answer: Mapping[str, Any], *, bundle: SiteBundle | None) -> SiteOrder:
    if answer["evaluator_version"] != evaluator_version:
        raise SiteProblem(
            f"the server scores with evaluator {answer['evaluator_version']}, this agent with {evaluator_version}; "
            "install the server's version"
        )
    image = answer["image"]
    return SiteOrder(
        evaluation_id=answer["evaluation_id"],
        fence=answer["fence"],
        lease_seconds=answer["lease_seconds"],
        submission=answer["submission"],
        root_sha256=answer["root_sha256"],
        protocol=answer["protocol"],
        image_id=image["image_id"],
        image=FileOrder(path="image.tar", sha256=image["sha256"], bytes=image["bytes"], url=image["url"]),
        groups=answer.get("groups", {}),
        signed=answer.get("order"),
        sealed_bytes=int(image.get("sealed_bytes") or 0),
        bundle=bundle,
    )


def orders_in(bundle: SiteBundle) -> list[SiteOrder]:
    """The orders on a stick. Whether they hold is found when each is evaluated. Raises SiteProblem."""
    return [order_of(answer, bundle=bundle) for answer in bundle.orders]
