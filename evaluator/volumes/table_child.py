"""The limited process that looks at one untrusted table: `python -I -m evaluator.volumes.table_child`.

It gives up what `volumes.child` gives up before it touches the source, reads it strictly and writes our own table of it.
"""

import os
from typing import Any

from evaluator.volumes.confinement import serve
from evaluator.volumes.tables import MAX_TABLE_BYTES, chosen_rows, parse_table, require_columns


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Read the source strictly, write the target canonically, answer that it is done."""
    with os.fdopen(request["source"], "rb") as source, os.fdopen(request["target"], "wb") as target:
        rows = parse_table(source.read(MAX_TABLE_BYTES + 1), delimiter=request["delimiter"])
        require_columns(rows, request["columns"])
        target.write(chosen_rows(rows, columns=request["columns"], names=request["names"]).encode())
    return {}


if __name__ == "__main__":
    serve(convert)
