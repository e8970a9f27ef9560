"""The limited process that looks at one untrusted table: `python -I -m evaluator.volumes.table_child`.

It gives up what `volumes.child` gives up before it touches the source, reads it strictly and writes our own table of it.
"""

import os
from typing import Any

from evaluator.volumes.confinement import serve
from evaluator.volumes.tables import MAX_TABLE_BYTES, TableForm, chosen_rows, rows_in_form


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Read the source strictly, write the target canonically, answer that it is done."""
    with os.fdopen(request["source"], "rb") as source, os.fdopen(request["target"], "wb") as target:
        form = TableForm(
            columns=tuple(request["columns"]),
            delimiter=request["delimiter"],
            cells=request["cells"],
            is_document=request["is_document"],
        )
        rows = rows_in_form(source.read(MAX_TABLE_BYTES + 1), form=form, names=request["names"])
        target.write(chosen_rows(rows, columns=request["columns"], names=request["names"]).encode())
    return {}


if __name__ == "__main__":
    serve(convert)
