"""What an upgrade must keep: every table and column of the older schema, the number of its rows, and a checksum of every column."""

from dataclasses import dataclass, field

from django.db import connection

OURS = ("accounts", "challenges", "evaluation_sites", "evaluations", "leaderboards", "runs", "submissions", "testsets")
CHANGED = {
    ("accounts_team", "name"): 1,
    ("accounts_user", "date_joined"): 1,
    ("challenges_phase", "opens_at"): 1,
    ("challenges_phase", "closes_at"): 1,
    ("leaderboards_leaderboard", "asked"): 0,
}
"""Columns whose rows a migration may change on purpose → how many of the rows of `first_version.py` change: teams with a name that
looks like an earlier one get a number, phases outside of 1970 to 2200 move to the nearer end."""
RENAMED = {("submissions_submission", "verdict_text"): "earlier_text"}
"""(table, column) → how a migration calls it, with the same content."""
DROPPED = {("leaderboards_leaderboard", "error"): "its words are in `trouble`, with a reason"}
"""(table, column) that a migration removes on purpose → the reason."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The content of the tables that there were at one moment."""

    counts: dict[str, int]
    checksums: dict[tuple[str, str], str]
    kept: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """Of the columns that may change: every value by the row's key."""


def columns_now() -> dict[str, list[str]]:
    """The columns of every table of our apps."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        )
        found: dict[str, list[str]] = {}
        for table, column in cursor.fetchall():
            if table.startswith(tuple(f"{app}_" for app in OURS)):
                found.setdefault(table, []).append(column)
    return found


def read(columns: dict[str, list[str]]) -> Facts:
    """Count and sum up these columns. Raises LookupError for one that is not there any more."""
    there = columns_now()
    places = {
        table: {
            name: name if name in there.get(table, ()) else RENAMED.get((table, name), name)
            for name in names
            if (table, name) not in DROPPED
        }
        for table, names in columns.items()
    }
    gone = [
        f"{table}.{name}"
        for table, names in places.items()
        for name, now in names.items()
        if now not in there.get(table, ())
    ]
    if gone:
        raise LookupError(f"a migration removed {', '.join(gone)}: list it in tests/upgrade/facts.py with its reason")
    counts, checksums, kept = {}, {}, {}
    with connection.cursor() as cursor:
        for table, names in places.items():
            sums = ", ".join(
                f"md5(string_agg(md5(id::text || coalesce(\"{now}\"::text, '∅')), '' ORDER BY id::text))"
                for now in names.values()
            )
            cursor.execute(f'SELECT count(*), {sums} FROM "{table}"')
            counts[table], *found = cursor.fetchone()
            checksums |= {(table, name): value for name, value in zip(names, found, strict=True)}
        for table, name in CHANGED:
            cursor.execute(f'SELECT id::text, "{name}"::text FROM "{table}"')
            kept[table, name] = dict(cursor.fetchall())
    return Facts(counts=counts, checksums=checksums, kept=kept)


def differences(before: Facts, after: Facts) -> list[str]:
    """What is not as it was, in sentences; empty where nothing was lost."""
    found = [
        f"{table}: {count} rows before, {after.counts[table]} after"
        for table, count in before.counts.items()
        if after.counts[table] != count
    ]
    for key, value in before.checksums.items():
        if key in CHANGED:
            old, new = before.kept[key], after.kept[key]
            changed = sum(old[row] != new.get(row) for row in old)
            if changed != CHANGED[key]:
                found.append(f"{'.'.join(key)}: {changed} rows changed; expected {CHANGED[key]}")
        elif key not in DROPPED and after.checksums[key] != value:
            found.append(f"{'.'.join(key)}: its content changed")
    return found
