"""The one API object: every noun's router is hung on it here, and every error becomes the same envelope."""

from assay.api.auth import SIGNED_IN
from assay.api.errors import translate_errors
from assay.api.parsing import StrictParser
from assay.api.reference import DescribedAPI, PlainReference
from assay.api.throttling import AddressThrottle, PersonThrottle
from assay.api.v1 import (
    accounts,
    agreements,
    challenges,
    code_parts,
    hooks,
    invites,
    leaderboards,
    metric_images,
    node,
    nodes,
    notices,
    operations,
    participants,
    phases,
    planning,
    rejudging,
    rights,
    site_bundles,
    site_joining,
    submissions,
    testsets,
    uploads,
)

api = DescribedAPI(
    title="Assay",
    version="1",
    description=(
        "Runs medical-image challenges honestly. Errors are {error: {code, message, found, expected, what_to_do, whose_fault}}. "
        "Every answer has the header Assay-Server, such as `assay/0.1.0; api=2; lowest=1`: the server's version, its API level, and the "
        "lowest level it serves. Assay's own programs send Assay-Client, such as `node/0.1.0; api=2`. One of a lower level is answered "
        "with 426, code upgrade_needed, and a sentence that says what to upgrade. Your own programs need not send it."
    ),
    urls_namespace="api-v1",
    docs=PlainReference(),
    docs_url="docs",
    openapi_url="openapi.json",
    auth=SIGNED_IN,
    parser=StrictParser(),
    throttle=[AddressThrottle(), PersonThrottle()],
)
translate_errors(api)
api.add_router("", accounts.router, tags=["people"])
api.add_router("/notices", notices.router, tags=["notices"])
api.add_router("/teams", hooks.team_router, tags=["webhooks"])
api.add_router("/challenges", hooks.challenge_router, tags=["webhooks"])
api.add_router("/challenges", invites.router, tags=["challenges"])
api.add_router("/invites", invites.open_router, tags=["challenges"])
api.add_router("/challenges", challenges.router, tags=["challenges"])
api.add_router("/challenges", participants.router, tags=["challenges"])
api.add_router("/challenges", phases.router, tags=["challenges"])
api.add_router("/challenges", planning.router, tags=["challenges"])
api.add_router("/challenges", agreements.router, tags=["test sets"])
api.add_router("/challenges", testsets.router, tags=["test sets"])
api.add_router("/challenges", metric_images.router, tags=["test sets"])
api.add_router("/challenges", code_parts.router, tags=["test sets"])
api.add_router("/uploads", uploads.router, tags=["uploads"])
api.add_router("/node", node.router, tags=["node"])
api.add_router("/site", site_bundles.router, tags=["sites"])
api.add_router("/challenges", site_joining.phase_router, tags=["sites"])
api.add_router("/challenges", submissions.phase_router, tags=["submissions"])
api.add_router("/submissions", submissions.router, tags=["submissions"])
api.add_router("/challenges", leaderboards.router, tags=["leaderboards"])
api.add_router("/challenges", rejudging.router, tags=["leaderboards"])
api.add_router("/nodes", nodes.router, tags=["operators"])
api.add_router("/operations", operations.router, tags=["operators"])
api.add_router("/operations", rights.router, tags=["operators"])
api.add_router("", nodes.keys_router, tags=["receipts"])
