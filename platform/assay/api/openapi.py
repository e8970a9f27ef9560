"""`python -m assay.api.openapi`: print the API's description.

`make openapi` keeps it in `tests/api/openapi.json`, where a test compares it: a change of the API shows as a diff and is never an
accident.
"""

import json
import os
import sys

import django


def description() -> str:
    """The API as it is now."""
    from assay.api.v1.router import api  # models exist only after django.setup()

    return json.dumps(api.get_openapi_schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")
    django.setup()
    sys.stdout.write(description())
