"""A large, old challenge in a minute: thousands of submissions with all their case runs and scores, written by the database itself.

Theory of operation. One submission of every table is made the usual way. Every further row is a copy of it, made by
`INSERT … SELECT`, in which only what tells rows apart is an expression. So a new column needs no change here.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import AutoField, F, Model

import factories
from assay.accounts.models import Team, User
from assay.challenges.models import Challenge, Phase
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards.models import Leaderboard, LeaderboardEntry
from assay.leaderboards.services import ask_for_rebuild
from assay.pages.tables import PAGE
from assay.runs.models import CaseRun, Run
from assay.submissions.models import Submission
from containers.spec import Usage

PROTOCOL = {**factories.PROTOCOL, "metrics": [{"name": "dice"}, {"name": "hd95"}]}
USAGE = Usage(wall_seconds=12.5, peak_memory_bytes=10**9, startup_seconds=0.2, cpu_seconds=10.0)
OF_CASES = "jsonb_build_object('mean', {scale} * random(), 'sd', 0.1, 'n', 200)"
OF_METRIC = (
    f"{OF_CASES} || jsonb_build_object('per_label', jsonb_build_object('core', {OF_CASES}, 'rim', {OF_CASES}), "
    f"'per_site', jsonb_build_object('A', {OF_CASES}, 'B', {OF_CASES}))"
)
AGGREGATES = "jsonb_build_object('dice', {}, 'hd95', {})".format(*(OF_METRIC.format(scale=scale) for scale in (1, 20)))
SCORES = "jsonb_build_array({})".format(
    ", ".join(
        f"jsonb_build_array('{label}', '{metric}', {scale} * random(), '')"
        for metric, scale in (("dice", 1), ("hd95", 20))
        for label in ("core", "rim")
    )
)


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Who takes part, and what in."""

    operator: User
    organizer: User
    participant: User
    challenge: Challenge
    phase: Phase


def seed(*, submissions: int, cases: int, teams: int) -> Crowd:
    """A phase that shows every one of its finished `submissions`, handed in in turn by `teams`, all cases run and scored."""
    organizer = factories.user()
    challenge = factories.challenge(organizer=organizer)
    testset = factories.testset(challenge=challenge, case_ids=[f"case-{number:04}" for number in range(cases)])
    protocol = factories.protocol(challenge=challenge, document=PROTOCOL)
    phase = factories.phase(challenge=challenge, testset=testset, protocol=protocol, leaderboard_shows="all")
    members = [factories.user() for _ in range(teams)]
    all_teams = [factories.team(members=[member]) for member in members]
    for member, team in zip(members, all_teams, strict=True):
        factories.membership(challenge=challenge, user=member, team=team)
    _copy_submissions(_template(phase=phase, team=all_teams[0]), teams=all_teams, submissions=submissions)
    factories.settle_board(phase)
    ask_for_rebuild(phase_id=phase.pk, now=factories.NOW)
    Leaderboard.objects.filter(phase=phase).update(answered=F("asked"), rebuilt_at=factories.NOW)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    operator = factories.user(is_staff=True)
    return Crowd(operator=operator, organizer=organizer, participant=members[0], challenge=challenge, phase=phase)


def pages_of(crowd: Crowd) -> list[tuple[str, str, str]]:
    """What is opened daily: what it is, who asks for it, and where."""
    challenge, phase = crowd.challenge.slug, crowd.phase.slug
    of_challenge, of_phase = f"/c/{challenge}/", f"/c/{challenge}/p/{phase}/"
    board, manage, api = (
        f"{of_phase}leaderboard/",
        f"{of_challenge}manage/",
        f"/api/v1/challenges/{challenge}/phases/{phase}/",
    )
    middle = 1 + crowd.phase.submissions.count() // 200
    mine = crowd.phase.submissions.filter(team__members=crowd.participant)
    one, old = mine.order_by("-number")[0].pk, crowd.phase.submissions.order_by("created_at")[PAGE + 5].pk
    return [
        ("leaderboard", "nobody", board),
        ("leaderboard", "participant", board),
        ("leaderboard, from the middle", "participant", f"{board}?page={middle}"),
        ("leaderboard, by a metric", "participant", f"{board}?sort=-dice"),
        ("leaderboard, of one site by a metric", "participant", f"{board}?view=site:A&sort=-dice"),
        ("leaderboard, searched", "participant", f"{board}?q=Algorithm+5"),
        ("leaderboard, 100 rows of the API", "participant", f"{api}leaderboard?limit=100"),
        ("challenges", "participant", "/"),
        ("challenge", "participant", of_challenge),
        ("phase", "participant", of_phase),
        ("submissions, one's own", "participant", "/submissions/"),
        ("submission", "participant", f"/s/{one}/"),
        ("submission, its poll", "participant", f"/s/{one}/live/?v=unknown"),
        ("console", "organizer", manage),
        ("submissions, all", "organizer", f"{manage}submissions/"),
        ("submissions, among the oldest", "organizer", f"{manage}submissions/?before={old}"),
        ("submissions, searched", "organizer", f"{manage}submissions/?q=Algorithm+5"),
        ("submission with logs and curves", "organizer", f"{manage}submissions/{one}/"),
        ("people", "organizer", f"{manage}people/"),
        ("audit", "organizer", f"{manage}audit/"),
        ("submissions, of the API", "organizer", "/api/v1/submissions?limit=50"),
        ("submissions, from row 9000 of the API", "organizer", "/api/v1/submissions?limit=50&offset=9000"),
        ("operations", "operator", "/ops/"),
    ]


@dataclass(frozen=True, kw_only=True)
class Template:
    """One finished submission with one row in every table."""

    submission: Submission
    run: Run
    case_run: CaseRun
    evaluation: Evaluation
    scores: CaseScores
    entry: LeaderboardEntry


def _template(*, phase: Phase, team: Team) -> Template:
    now, done = factories.NOW, "done"
    row = factories.submission(phase=phase, team=team, status=done, finished_at=now)
    case = row.testset.cases.first()
    run = Run.objects.create(submission=row, number=1, status=done, pool="default", created_at=now, finished_at=now)
    moments = {"queued_at": now, "started_at": now, "finished_at": now + timedelta(seconds=13)}
    facts = {"status": done, "pool": "default", "verdict": "ok", "usage": USAGE, "attempt": 1}
    case_run = CaseRun.objects.create(run=run, case=case, position=0, **facts, **moments)
    rules = {"protocol": row.protocol, "testset": row.testset, "created_at": now, "finished_at": now}
    evaluation = Evaluation.objects.create(
        submission=row, run=run, number=1, status=done, is_active=True, aggregates={"dice": {"mean": 0.5}}, **rules
    )
    standing = {"rank": 1, "score": 0.5, "case_count": 1, "seconds_per_case": 12.5, "peak_memory_bytes": 10**9}
    return Template(
        submission=row,
        run=run,
        case_run=case_run,
        evaluation=evaluation,
        scores=CaseScores.objects.create(evaluation=evaluation, case=case, scores=[["core", "dice", 0.5, ""]]),
        entry=LeaderboardEntry.objects.create(
            phase=phase, submission=row, evaluation=evaluation, metrics={}, rebuilt_at=now, **standing
        ),
    )


def _copy_submissions(old: Template, *, teams: list[Team], submissions: int) -> None:
    """Every table, parents first."""
    phase_id, testset_id = old.submission.phase_id, old.submission.testset_id
    team_ids = ",".join(str(team.pk) for team in teams)
    _copy(
        old.submission,
        source=f"generate_series(2, {submissions}) n",
        id="gen_random_uuid()",
        number="n",
        name="'Algorithm ' || n",
        team_id=f"(ARRAY[{team_ids}])[1 + mod(n, {len(teams)})]",
        created_at="old.created_at - n * interval '1 minute'",
    )
    new = "(SELECT id, number FROM submissions_submission "
    new += f"WHERE phase_id = {phase_id} AND id <> '{old.submission.pk}') s"
    runs = f"{new} JOIN runs_run r ON r.submission_id = s.id"
    evaluations = f"{new} JOIN evaluations_evaluation e ON e.submission_id = s.id"
    cases = f"CROSS JOIN (SELECT id, position FROM testsets_case WHERE testset_id = {testset_id}) c"
    _copy(old.run, source=new, id="gen_random_uuid()", submission_id="s.id")
    ids = {"id": "gen_random_uuid()", "submission_id": "s.id", "run_id": "r.id"}
    _copy(old.evaluation, source=runs, **ids, aggregates=AGGREGATES)
    place = {"run_id": "r.id", "case_id": "c.id", "position": "c.position"}
    _copy(old.case_run, source=f"{runs} {cases}", id="gen_random_uuid()", **place)
    _copy(old.scores, source=f"{evaluations} {cases}", evaluation_id="e.id", case_id="c.id", scores=SCORES)
    standing = {"rank": "s.number", "metrics": "e.aggregates"}
    _copy(old.entry, source=evaluations, submission_id="s.id", evaluation_id="e.id", **standing)


def _copy(old: Model, *, source: str, **changes: str) -> None:
    """Copies of one row, one for every row of `source`."""
    columns = [field.column for field in old._meta.concrete_fields if not isinstance(field, AutoField)]
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(changes.get(column, f'old."{column}"') for column in columns)
    table = old._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM (SELECT * FROM {table} WHERE id = %s) old CROSS JOIN {source}",
            [old.pk],
        )
