"""`make test-upgrade`: upgrade an installation of the first version that has 10,000 submissions, and restore its backup into this version.

    python tests/upgrade/run.py                          # 10,000 submissions; prints every migration with its time and its locks
    python tests/upgrade/run.py --submissions 300        # what the default suite does
    python tests/upgrade/run.py --write                  # writes the table into docs/operators/upgrade.md

It starts a PostgreSQL of its own, makes the first version's schema, fills every table, makes a backup, and applies the newer migrations one
by one, each in a transaction that is looked at before it ends: which locks does it hold on tables that were there before? Then it compares
counts and checksums, reads every board through the API, and ranks one of them again. Last, it restores the backup into the newer schema
and compares again. It ends with 1 where anything differs.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "operators" / "upgrade.md"
BEGIN, END = "<!-- migrations: written by tests/upgrade/run.py --write -->", "<!-- end of migrations -->"
LONG_SECONDS = 10.0
PAGE_ROWS = 1000
READS_WAIT, WRITES_WAIT = "reads and writes wait", "writes wait"
LOCKS = {
    "AccessExclusiveLock": READS_WAIT,
    "ExclusiveLock": WRITES_WAIT,
    "ShareRowExclusiveLock": WRITES_WAIT,
    "ShareLock": WRITES_WAIT,
}
HELD = """
SELECT DISTINCT c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.granted AND l.mode = ANY(%s) AND c.relkind = 'r' AND c.relname = ANY(%s)
"""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One migration as it was seen."""

    name: str
    seconds: float
    locks: Mapping[str, str]
    """Table → who waits meanwhile; only tables that were there before."""

    @property
    def locked(self) -> str:
        """The locks in words."""
        return ", ".join(f"`{table}` ({waits})" for table, waits in sorted(self.locks.items())) or "none"


def say(text: str) -> None:
    """One line of the report."""
    print(f"upgrade: {text}", flush=True)


def tables_now() -> list[str]:
    """Every table there is."""
    from django.db import connection

    return list(connection.introspection.table_names())


def apply_newer_migrations() -> Iterator[Step]:
    """Apply what is not applied yet, one migration at a time."""
    from django.db import connection, transaction
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    state = executor.loader.project_state(
        [key for key in executor.loader.applied_migrations if key in executor.loader.graph.nodes]
    )
    for migration, _ in plan:
        there = tables_now()
        before = time.monotonic()
        if migration.atomic:
            with transaction.atomic():
                state = executor.apply_migration(state, migration)
                locks = held(there)
        else:
            state, locks = executor.apply_migration(state, migration), {}
        yield Step(name=f"{migration.app_label}.{migration.name}", seconds=time.monotonic() - before, locks=locks)


def held(tables: Sequence[str]) -> dict[str, str]:
    """The locks of this transaction that others notice, on these tables."""
    from django.db import connection

    found: dict[str, str] = {}
    with connection.cursor() as cursor:
        cursor.execute(HELD, [list(LOCKS), list(tables)])
        for table, mode in cursor.fetchall():
            if found.get(table) != READS_WAIT:
                found[table] = LOCKS[mode]
    return found


def check_boards(boards: Mapping[str, Sequence[str]]) -> list[str]:
    """Read every board through the API, then rank the longest one again; what is wrong, in sentences."""
    from django.test import Client
    from django.utils import timezone

    from assay.challenges.models import Phase
    from assay.leaderboards.services import ask_for_rebuild, rebuild_leaderboard

    wrong = []

    def read(place: str) -> list[str]:
        slug, phase = place.split("/")
        rows: list[dict[str, Any]] = []
        while True:
            answer = Client().get(
                f"/api/v1/challenges/{slug}/phases/{phase}/leaderboard?limit={PAGE_ROWS}&offset={len(rows)}"
            )
            if answer.status_code != 200:
                wrong.append(f"the board {place} answers {answer.status_code}: {answer.content[:200]!r}")
                return []
            page = answer.json()
            rows += page["entries"]
            if not page["entries"] or len(rows) >= page["count"]:
                return [str(row["submission_id"]) for row in rows]

    for place, expected in boards.items():
        if (found := read(place)) != list(expected):
            wrong.append(
                f"the board {place} has {len(found)} rows, not the {len(expected)} there were, or in another order"
            )
    longest = max(boards, key=lambda place: len(boards[place]))
    slug, name = longest.split("/")
    phase = Phase.objects.get(challenge__slug=slug, slug=name)
    ask_for_rebuild(phase_id=phase.pk, now=timezone.now())
    if not rebuild_leaderboard(phase_id=phase.pk, now=timezone.now()):
        wrong.append(f"the board {longest} could not be ranked again")
    if read(longest) != list(boards[longest]):
        wrong.append(f"the board {longest} is another one after it was ranked again")
    return wrong


def upgrade(*, submissions: int, folder: Path) -> tuple[list[Step], list[str]]:
    """The whole exercise: the migrations as they were seen, and what went wrong."""
    import facts
    import first_version
    from django.core.management import call_command

    from assay.config import backup

    began = time.monotonic()

    def since() -> str:
        nonlocal began
        seconds, began = time.monotonic() - began, time.monotonic()
        return f"{seconds:.1f} s"

    first_version.migrate()
    columns = facts.columns_now()
    say(f"schema of the first version: {len(columns)} tables, {since()}")
    filled = first_version.fill(submissions=submissions)
    before = facts.read(columns)
    empty = [table for table, count in before.counts.items() if count == 0 and table not in EMPTY]
    wrong = [f"{table} has no rows, so nothing is shown about it" for table in empty]
    say(f"filled with {sum(before.counts.values())} rows, {submissions} submissions among them: {since()}")
    made = backup.make(folder / "backup")
    say(f"backup made: {since()}")
    steps = []
    for step in apply_newer_migrations():
        say(f"{step.name:45} {step.seconds:6.2f} s  locks {step.locked.replace('`', '')}")
        steps.append(step)
    call_command("migrate", interactive=False, verbosity=0)
    say(f"{len(steps)} newer migrations: {since()}")
    wrong += [f"after the upgrade, {line}" for line in facts.differences(before, facts.read(columns))]
    wrong += [f"after the upgrade, {line}" for line in check_boards(filled["boards"])]
    say(f"compared, and {len(filled['boards'])} boards read: {since()}")
    backup.restore(made)
    say(f"backup of the first version restored into this version: {since()}")
    wrong += [f"after the restore, {line}" for line in facts.differences(before, facts.read(columns))]
    wrong += [f"after the restore, {line}" for line in check_boards(filled["boards"])]
    say(f"compared again: {since()}")
    wrong += [
        f"{step.name} took {step.seconds:.1f} s"
        for step in steps
        if step.seconds > LONG_SECONDS and step.name not in LONG
    ]
    return steps, wrong


EMPTY = ("accounts_user_groups", "accounts_user_user_permissions")
"""Django's own tables, which Assay does not use."""
LONG: Mapping[str, str] = {}
"""Migrations that may take longer than ten seconds with 10,000 submissions → why. The upgrade page names them."""


def table_of(steps: Sequence[Step]) -> str:
    """The migrations as the page shows them: no times, which differ from machine to machine."""
    rows = [f"| `{step.name}` | {step.locked} |" for step in steps]
    return "\n".join([BEGIN, "", "| migration | locks, while it runs |", "| --- | --- |", *rows, "", END])


def page_with(table: str) -> str:
    """The upgrade page with this table in its place."""
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    return head + table + rest.split(END)[1]


def main(arguments: Sequence[str]) -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Upgrade an installation of the first version and restore its backup.")
    parser.add_argument("--submissions", type=int, default=10_000)
    parser.add_argument(
        "--write", action="store_true", help="write the table of migrations into docs/operators/upgrade.md"
    )
    parser.add_argument("--page", action="store_true", help="fail where that table is out of date")
    options = parser.parse_args(arguments)
    sys.path[:0] = [str(HERE), str(ROOT), str(ROOT / "platform")]
    from assay.config.embedded import home_under, running_postgres

    with tempfile.TemporaryDirectory(prefix="assay-upgrade-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root the server runs as `nobody`, who has to pass through
        with running_postgres(home=home_under(var=folder), is_durable=False) as home:
            os.environ |= {
                "DATABASE_URL": home.database_url, "BROKER_URL": "memory://", "ASSAY_VAR": str(folder / "var"), "ASSAY_HOSTS": "testserver",
                "DJANGO_SETTINGS_MODULE": "assay.config.settings",
            }  # fmt: skip
            import django
            from django.db import connection

            django.setup()
            steps, wrong = upgrade(submissions=options.submissions, folder=folder)
            connection.close()
    if options.write:
        PAGE.write_text(page_with(table_of(steps)), encoding="utf-8")
    elif options.page and PAGE.read_text(encoding="utf-8") != page_with(table_of(steps)):
        wrong.append(
            "the table of migrations in docs/operators/upgrade.md is out of date: python tests/upgrade/run.py --write"
        )
    for line in wrong:
        say(line)
    slowest = max(steps, key=lambda step: step.seconds)
    say(f"slowest migration: {slowest.name}, {slowest.seconds:.2f} s")
    say("failed" if wrong else "nothing was lost")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
