"""An installation of the first version: its schema by the names of its migrations, and rows in every table of it.

The models are those that the migrations themselves describe at that point, so nothing here changes when the code does. A few rows are
what the first version let people write and later ones do not: names that look alike, a name whose key is very long, times far away.
"""

import hashlib
import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

LAST_MIGRATIONS = {
    "accounts": "0001_initial",
    "challenges": "0002_running_limits",
    "evaluation_sites": "0001_initial",
    "evaluations": "0003_metric_image",
    "leaderboards": "0002_standing",
    "runs": "0005_resuming",
    "submissions": "0004_resuming",
    "testsets": "0001_initial",
}
"""The last migration of each of our apps on 2026-11-21, when the first version was named."""
OTHER_APPS = ("admin", "auth", "contenttypes", "sessions")
"""Django's own apps of that version, whose migrations all count."""

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
CASES = 4
LONG_NAME = "ﷺ" * 80
"""80 characters, which spell 1,440 letters once they are folded."""
LONG_USERNAME = "ΐ" * 150
"""150 characters, whose folded form has 450."""
FAR_AWAY = (datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC))
PROTOCOL: dict[str, Any] = {
    "protocol": 1,
    "name": "two-label-test",
    "title": "Two labels",
    "labels": {"core": {"values": 1, "tolerance_mm": 1}, "rim": {"values": 2, "tolerance_mm": 1}},
    "inputs": [{"name": "t1", "file": "{case}.nii.gz", "required": True}],
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}],
    "resources": {"run_mode": "case", "wall_seconds": 30, "memory_mb": 512, "cpus": 1},
    "release": "per_case",
}
USAGE: dict[str, Any] = {
    "wall_seconds": 3.2, "cpu_seconds": 2.75, "cpus": 1, "peak_memory_bytes": 104857600, "is_valid": True, "gpu_uuids": [],
    "memory_curve": {"seconds": [0.1, 1.1], "values": [1048576, 94371840]},
}  # fmt: skip


def migrate() -> None:
    """Make the schema of the first version in an empty database."""
    executor = MigrationExecutor(connection)
    others = [node for app in OTHER_APPS for node in executor.loader.graph.leaf_nodes(app)]
    executor.migrate([*others, *LAST_MIGRATIONS.items()])


def fill(*, submissions: int) -> dict[str, Any]:
    """Rows in every table, with so many submissions; what the checks must know of them."""
    return Filling(submissions=submissions).write()


def digest(text: str) -> str:
    """A stable sha256 for things that only need one."""
    return hashlib.sha256(text.encode()).hexdigest()


class Filling:
    """Writes the rows. Nothing is random: the same number of submissions gives the same rows."""

    def __init__(self, *, submissions: int) -> None:
        executor = MigrationExecutor(connection)
        self._apps = executor.loader.project_state(list(LAST_MIGRATIONS.items()), at_end=True).apps
        self._count = submissions
        self._teams = max(8, submissions // 5)
        self._challenges = max(2, min(20, submissions // 500))

    def write(self) -> dict[str, Any]:
        """Everything, in the order of its references."""
        self._people()
        self._organize()
        self._submit()
        self._run_and_score()
        self._publish()
        self._third_parties()
        boards = {
            f"{phase.challenge.slug}/{phase.slug}": [str(entry.submission_id) for entry in self._entries[phase.pk]]
            for phase in self._phases
        }
        return {"boards": boards}

    def _model(self, label: str) -> Any:
        return self._apps.get_model(label)

    def _make(self, label: str, rows: Iterable[dict[str, Any]]) -> list[Any]:
        model = self._model(label)
        return list(model.objects.bulk_create([model(**row) for row in rows], batch_size=2000))

    def _people(self) -> None:
        names = [f"person{n}" for n in range(self._teams - 3)] + ["quin", "ＱＵＩＮ", LONG_USERNAME]
        self._users = self._make(
            "accounts.User",
            (
                {"username": name, "email": f"{n}@example.org", "password": "!", "display_name": f"Person {n}",
                 "date_joined": FAR_AWAY[1] if name == "quin" else START}
                for n, name in enumerate(names)
            ),
        )  # fmt: skip
        titles = [f"Team {n}" for n in range(self._teams - 3)] + ["Blue Lab", "ＢＬＵＥ lab", LONG_NAME]
        self._team_rows = self._make(
            "accounts.Team",
            ({"name": title, "slug": f"team-{n}", "created_at": START} for n, title in enumerate(titles)),
        )
        pairs = list(zip(self._team_rows, self._users, strict=True))
        self._make(
            "accounts.TeamMember",
            ({"team": team, "user": user, "is_captain": True, "joined_at": START} for team, user in pairs),
        )
        until = START + timedelta(days=3650)
        self._make(
            "accounts.ApiToken",
            (
                {"user": user, "name": "assay on laptop", "token_hash": digest(f"token {user.pk}"), "created_at": START, "expires_at": until}
                for user in self._users
            ),
        )  # fmt: skip
        self._make(
            "accounts.TeamInvite",
            (
                {"team": team, "created_by": user, "email": "new@example.org", "token_hash": digest(f"invite {team.pk}"), "expires_at": until}
                for team, user in pairs[:5]
            ),
        )  # fmt: skip

    def _organize(self) -> None:
        organizer = self._users[0]
        challenges = self._make(
            "challenges.Challenge",
            (
                {
                    "slug": f"challenge-{n}", "title": f"Challenge {n}", "status": "published", "created_by": organizer,
                    "created_at": START, "description": f"# Brains {n}\n\nWith *{n}* cases.", "rules": "- be kind\n- no <b>HTML</b>",
                }
                for n in range(self._challenges)
            ),
        )  # fmt: skip
        protocols = self._make(
            "challenges.ProtocolVersion",
            (
                {"challenge": row, "version": 1, "document": PROTOCOL, "source": json.dumps(PROTOCOL), "sha256": digest(row.slug), "created_at": START}
                for row in challenges
            ),
        )  # fmt: skip
        closes = datetime(2027, 1, 1, tzinfo=UTC)
        self._phases = self._make(
            "challenges.Phase",
            (
                {"challenge": row, "protocol": protocol, "slug": slug, "title": slug.title(), "opens_at": START, "closes_at": closes,
                 "leaderboard_shows": "all"}
                for row, protocol in zip(challenges, protocols, strict=True)
                for slug in ("open", "final")
            ),
        )  # fmt: skip
        far, far_end = FAR_AWAY
        self._make(
            "challenges.Phase",
            [{"challenge": challenges[0], "protocol": protocols[0], "slug": "always", "title": "Always", "opens_at": far, "closes_at": far_end}],
        )  # fmt: skip
        testsets = self._make(
            "testsets.TestSet",
            (
                {"challenge": row, "name": "hidden", "version": 1, "sha256": digest(f"hidden {row.slug}"), "created_at": START}
                for row in challenges
            ),
        )  # fmt: skip
        stored = {"sha256": digest("file"), "bytes": 10}
        cases = self._make(
            "testsets.Case",
            (
                {
                    "testset": testset, "case_id": f"case-{n}", "position": n,
                    "inputs": [{"name": "t1", "key": f"testsets/{testset.pk}/{n}/t1.nii.gz", **stored}],
                    "references": [{"name": "segmentation", "key": f"testsets/{testset.pk}/{n}/reference.nii.gz", **stored}],
                    "attributes": {"site": "AB"[n % 2]},
                }
                for testset in testsets
                for n in range(CASES)
            ),
        )  # fmt: skip
        self._cases = {testset.pk: cases[place * CASES : (place + 1) * CASES] for place, testset in enumerate(testsets)}
        by_challenge = {testset.challenge_id: testset for testset in testsets}
        self._testset_of = {phase.pk: by_challenge[phase.challenge_id] for phase in self._phases}
        self._make(
            "testsets.PhaseTestSet",
            ({"phase": phase, "testset": self._testset_of[phase.pk], "chosen_at": START} for phase in self._phases),
        )
        members = [
            (row, user, team) for row in challenges for user, team in zip(self._users, self._team_rows, strict=True)
        ]
        self._make(
            "challenges.Membership",
            (
                {
                    "challenge": row, "user": user, "created_at": START, "role": "organizer" if user is organizer else "participant",
                    "team": None if user is organizer else team, "status": "accepted",
                }
                for row, user, team in members
            ),
        )  # fmt: skip

    def _submit(self) -> None:
        numbers = range(self._count)
        teams = [self._team_rows[n % self._teams] for n in numbers]
        users = [self._users[n % self._teams] for n in numbers]
        later = START + timedelta(days=3)
        uploads = self._make(
            "submissions.Upload",
            (
                {"user": users[n], "purpose": "image", "filename": "image.tar", "total_bytes": 10, "offset_bytes": 10, "key": f"uploads/{n}",
                 "sha256": digest(f"archive {n}"), "created_at": START, "expires_at": later, "completed_at": START}
                for n in numbers
            ),
        )  # fmt: skip
        images = self._make(
            "submissions.AlgorithmImage",
            (
                {"team": teams[n], "upload": uploads[n], "archive_sha256": digest(f"archive {n}"), "image_id": f"sha256:{digest(f'image {n}')}",
                 "rewritten_key": f"images/{n}.tar", "rewritten_sha256": digest(f"rewritten {n}"), "rewritten_bytes": 10, "status": "accepted",
                 "report": {"layers": 3}, "created_at": START}
                for n in numbers
            ),
        )  # fmt: skip
        phases = [self._phases[n // self._teams % len(self._phases)] for n in numbers]
        counters = {phase.pk: count(1) for phase in self._phases}
        ordinals = [next(counters[phase.pk]) for phase in phases]
        self._submissions = self._make(
            "submissions.Submission",
            (
                {
                    "id": uuid.UUID(digest(f"submission {n}")[:32]), "phase": phases[n], "challenge_id": phases[n].challenge_id, "team": teams[n],
                    "submitted_by": users[n], "image": images[n], "protocol_id": phases[n].protocol_id, "testset": self._testset_of[phases[n].pk],
                    "name": f"Algorithm {n}", "description": "U-Net ✓", "number": ordinals[n], "limits": PROTOCOL["resources"],
                    "status": "failed" if n % 10 == 9 else "done", "verdict": "out_of_memory" if n % 10 == 9 else "",
                    "verdict_text": "1 of 4 cases needed more memory than there is" if n % 10 == 9 else "",
                    "created_at": START + timedelta(seconds=n), "status_changed_at": START + timedelta(seconds=n),
                    "finished_at": START + timedelta(seconds=n + 60),
                }
                for n in numbers
            ),
        )  # fmt: skip

    def _run_and_score(self) -> None:
        self._nodes = self._make(
            "runs.Node",
            ({"name": f"gpu-{n}", "token_hash": digest(f"node {n}"), "inventory": {"engine": "docker 20"}, "created_at": START} for n in range(3)),
        )  # fmt: skip
        self._make("runs.Share", ({"pool": "default", "team": team, "finish": 1.5} for team in self._team_rows))
        runs = self._make(
            "runs.Run",
            (
                {"submission": row, "number": 1, "status": row.status, "pool": "default", "created_at": START, "finished_at": row.finished_at}
                for row in self._submissions
            ),
        )  # fmt: skip
        case_runs = self._make(
            "runs.CaseRun",
            (
                {
                    "run": run, "case": case, "position": case.position, "status": run.status, "pool": "default", "attempt": 1, "fence": 1,
                    "node": self._nodes[place % 3], "verdict": "ok" if run.status == "done" else "out_of_memory", "usage": USAGE,
                    "outputs": [{"name": "segmentation", "key": f"predictions/{run.pk}/{case.position}", "sha256": digest("o"), "bytes": 9}],
                    "queued_at": START, "started_at": START, "finished_at": run.finished_at,
                }
                for place, run in enumerate(runs)
                for case in self._cases[run.submission.testset_id]
            ),
        )  # fmt: skip
        self._make(
            "runs.PromptRound",
            ({"case_run": row, "fence": 1, "number": 0, "prompts": {"points": [[1, 2, 3]]}, "asked_at": START} for row in case_runs[:5]),
        )  # fmt: skip
        finished = [(place, run) for place, run in enumerate(runs) if run.status == "done"]
        self._evaluations = self._make(
            "evaluations.Evaluation",
            (
                {
                    "submission": run.submission, "run": run, "number": 1, "protocol_id": run.submission.protocol_id,
                    "testset_id": run.submission.testset_id, "status": "done", "is_active": True, "backend": "cpu", "evaluator_version": "0.1.0",
                    "aggregates": {"dice": {"mean": score_of(place)}}, "receipt": {"document": {"number": place}, "signature": "c2ln"},
                    "created_at": START, "finished_at": run.finished_at,
                }
                for place, run in finished
            ),
        )  # fmt: skip
        self._place_of = {row.pk: place for row, (place, _) in zip(self._evaluations, finished, strict=True)}
        self._make(
            "evaluations.CaseScores",
            (
                {
                    "evaluation": row, "case": case,
                    "scores": [[label, "dice", score_of(self._place_of[row.pk]), ""] for label in ("core", "rim")],
                }
                for row in self._evaluations
                for case in self._cases[row.testset_id]
            ),
        )  # fmt: skip
        self._make(
            "evaluations.MetricImage",
            [
                {"challenge_id": self._phases[0].challenge_id, "archive_sha256": digest("m"), "image_id": f"sha256:{digest('m')}",
                 "rewritten_key": "metrics/1.tar", "rewritten_bytes": 10, "created_by": self._users[0], "created_at": START}
            ],
        )  # fmt: skip

    def _publish(self) -> None:
        self._entries: dict[Any, list[Any]] = {}
        for phase in self._phases:
            rows = [row for row in self._evaluations if row.submission.phase_id == phase.pk]
            rows.sort(key=lambda row: -score_of(self._place_of[row.pk]))
            self._entries[phase.pk] = self._make(
                "leaderboards.LeaderboardEntry",
                (
                    {
                        "phase": phase, "submission": row.submission, "evaluation": row, "rank": float(rank), "told_rank": float(rank),
                        "score": score_of(self._place_of[row.pk]), "metrics": {"dice": {"mean": score_of(self._place_of[row.pk]), "n": CASES}},
                        "means": {"": {"dice": score_of(self._place_of[row.pk])}}, "case_count": CASES, "rebuilt_at": START,
                    }
                    for rank, row in enumerate(rows, start=1)
                ),
            )  # fmt: skip
        self._make(
            "leaderboards.Leaderboard",
            (
                {"phase": phase, "asked": 3, "answered": 3, "asked_at": START, "rebuilt_at": START}
                for phase in self._phases
            ),
        )
        self._make(
            "leaderboards.Snapshot",
            (
                {"phase": phase, "taken_at": START, "cause": "closing", "document": {"entries": []}, "sha256": digest(phase.slug), "signature": "c2ln"}
                for phase in self._phases
            ),
        )  # fmt: skip

    def _third_parties(self) -> None:
        self._make(
            "accounts.AuditEvent",
            (
                {"at": START, "actor_label": "olga", "verb": "submission.created", "object_type": "submission", "object_id": str(row.pk)}
                for row in self._submissions
            ),
        )  # fmt: skip
        site = self._make(
            "evaluation_sites.Site",
            [{"phase": self._phases[0], "name": "hospital", "title": "Hospital", "token_hash": digest("site"), "created_at": START}],
        )[0]  # fmt: skip
        dataset = self._make(
            "evaluation_sites.SiteDataset",
            [{"site": site, "root_sha256": digest("root"), "case_count": 40, "registered_at": START}],
        )[0]
        self._make(
            "evaluation_sites.SiteEvaluation",
            (
                {"site": site, "submission": row, "dataset": dataset, "status": "released", "release": {"dice": {"mean": 0.5, "n": 40}}, "created_at": START}
                for row in self._submissions
                if row.phase_id == self._phases[0].pk
            ),
        )  # fmt: skip


def score_of(place: int) -> float:
    """A different Dice for every submission, without an order that follows the numbers."""
    return round((place * 7919 % 100_003) / 100_003, 6)
