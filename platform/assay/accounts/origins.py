"""Where a submission came from, without keeping the address: a keyed hash that only tells whether two came from the same network.

The key is the installation's secret, and the challenge is part of what is hashed. So nobody who has the database alone can try out
addresses, and hashes of two challenges cannot be compared.
"""

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from assay.accounts.sign_in import address_of


def origin_of(request: HttpRequest, *, challenge_id: int) -> str:
    """The hash of the requester's address (of IPv6, of the network). Empty where none is to be kept."""
    address = address_of(request)
    if not address or not settings.ORIGIN_DAYS:
        return ""
    return salted_hmac("assay.accounts.origins", f"{challenge_id} {address}", algorithm="sha256").hexdigest()
