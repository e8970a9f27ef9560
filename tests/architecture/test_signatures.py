"""Arguments have names and types: what a function takes can be read, and checked, where it is called."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OF_OTHERS = {
    "api/reference.py": {"get_openapi_schema", "render_page"},  # ninja's signatures
    "accounts/sign_in.py": {"authenticate"},  # Django's, as are those below
    "accounts/models.py": {"save"},
    "accounts/mail.py": {"__init__"},
    "config/celery.py": {"share_with_children"},  # Celery's
    "config/checks.py": {"check_lease", "check_public_url"},
    "config/management/commands/makemessages.py": {"handle"},
    "evaluation_sites/management/commands/write_site_bundle.py": {"handle"},
    "workflow/management/commands/collect_garbage.py": {"handle"},
    "portal/forms.py": {"__init__"},
    "node/engine_option.py": {"with_engine"},  # wraps any command of click's
}
PASSED_ON = {
    "accounts/audit.py": {"record_event", "log_event"},  # details of an event, stored as they are
    "organizers/views.py": {"frame"},  # what a template is given
    "portal/views/challenge.py": {"frame"},
    "client/http.py": {"_send"},  # httpx's
    "client/api.py": {"__init__", "_run"},  # `Client`'s
    "portal/boards.py": {"column"},  # fields of `Column`
}


def test_no_function_takes_a_dictionary_of_everything():
    listed = subprocess.run(["git", "ls-files", "platform/*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    takers: dict[str, set[str]] = {}
    for line in listed.stdout.splitlines():
        for node in ast.walk(ast.parse((ROOT / line).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.kwarg is not None:
                kind = ast.unparse(node.args.kwarg.annotation) if node.args.kwarg.annotation else ""
                if kind in ("Any", "object", ""):
                    takers.setdefault(line.removeprefix("platform/assay/"), set()).add(node.name)
    allowed = {place: OF_OTHERS.get(place, set()) | PASSED_ON.get(place, set()) for place in OF_OTHERS | PASSED_ON}
    odd = {place: names - allowed.get(place, set()) for place, names in takers.items()}
    assert {place: names for place, names in odd.items() if names} == {}


def test_the_exceptions_still_exist():
    for place, names in (OF_OTHERS | PASSED_ON).items():
        source = (ROOT / "platform" / "assay" / place).read_text()
        assert [name for name in names if f"def {name}(" not in source] == []


def test_nothing_is_hung_on_rows_of_the_database():
    """What a page shows beside a row stands in a record of its own, which names it and says its type."""
    listed = subprocess.run(["git", "ls-files", "platform/*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assigned = re.compile(r"^\s*\w+(?:\.\w+)+ = .*# type: ignore\[attr-defined\]", re.MULTILINE)
    hung = {line: assigned.findall((ROOT / line).read_text()) for line in listed.stdout.splitlines()}
    assert {line: found for line, found in hung.items() if found} == {}
