"""What one person may use of an installation. A number on the account goes before the installation's; neither: no limit."""

from django.conf import settings

from assay.accounts.models import User

TELL_OPERATORS = "An operator can raise the limit of your account."
GIB = 2**30


def storage_quota_bytes(user: User) -> int | None:
    """Bytes kept or announced at once: `ASSAY_QUOTA_STORAGE_GIB`."""
    gib = user.quota_storage_gib if user.quota_storage_gib is not None else settings.QUOTA_STORAGE_GIB
    return None if not gib and user.quota_storage_gib is None else gib * GIB
