"""Everything of a challenge in one zip, for its organizers: what they wrote, who submitted what, what came out, and the signed proof.

Hidden cases, images and predictions are not in it: they are large, and they stay where they are guarded. Personal addresses are not in it
either. The zip is written row by row, so its size does not decide how much memory it takes.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO, Any

from assay.accounts.models import AuditEvent
from assay.challenges.models import Challenge, Phase
from assay.challenges.writing import current_file
from assay.evaluations.models import CaseScores, Evaluation
from assay.leaderboards.history import signed_snapshot
from assay.leaderboards.models import LeaderboardEntry
from evaluator.spreadsheets import harmless_row

README = """\
{title} ({slug}), as it stood at {now}.

challenge.yaml          the challenge file, as `assay challenge pull` gives it
pages/, pictures/       texts in Markdown, and pictures
protocols/              every version of the rules that was ever pushed
people.csv              who organizes and takes part, with answers to the questions; no addresses
submissions.csv         every submission, in the order in which they came
scores/PHASE.csv        every score of every case of every scoring
leaderboards/PHASE.csv  the whole ranking, as organizers see it
snapshots/              signed rankings of the past: `assay verify FILE --key KEY`
receipts/               signed receipts of every scoring that had one: `assay verify FILE --key KEY`
news.json, messages.json, discussion.json, objections.csv, audit.csv

Not in it: cases, images, predictions, mail addresses.
"""
CHUNK = 2000
SUBMISSION_HEADER = (
    *("phase", "number", "name", "team", "submitted_by", "status", "verdict", "fault", "division", "created_at"),
    *("finished_at", "image_id", "is_charged", "is_disqualified", "is_withdrawn", "is_hidden", "is_late"),
    *("is_baseline", "rerun_of", "flag"),
)


def write_archive(*, challenge: Challenge, out: IO[bytes], now: datetime) -> None:
    """Write the zip into `out`. The number of queries grows with the number of phases alone."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", README.format(title=challenge.title, slug=challenge.slug, now=now.isoformat()))
        archive.writestr("challenge.yaml", current_file(challenge))
        _write_texts(archive, challenge)
        for version in challenge.protocols.order_by("version"):
            archive.writestr(f"protocols/v{version.version}.json", _json(version.document))
            if version.source:
                archive.writestr(f"protocols/v{version.version}.yaml", version.source)
        _write_people(archive, challenge)
        _write_submissions(archive, challenge)
        for phase in challenge.phases.select_related("challenge", "protocol"):
            _write_results(archive, phase)
        _write_words(archive, challenge)


def _write_texts(archive: zipfile.ZipFile, challenge: Challenge) -> None:
    texts = {"description": challenge.description, "rules": challenge.rules}
    texts |= {f"page-{page['slug']}": page["text"] for page in challenge.pages}
    for name, text in texts.items():
        archive.writestr(f"pages/{name}.md", text)
    for picture in challenge.pictures.all():
        suffix = "png" if picture.content_type == "image/png" else "jpg"
        archive.writestr(f"pictures/{picture.name}.{suffix}", bytes(picture.content))


def _write_people(archive: zipfile.ZipFile, challenge: Challenge) -> None:
    rows = challenge.memberships.select_related("user", "team").order_by("pk")
    header = ("user_name", "name", "role", "status", "team", "reason", "answers", "rules_version", "since")
    _write_table(
        archive,
        "people.csv",
        header,
        (
            (
                *(row.user.username, str(row.user), row.role, row.status, str(row.team or ""), row.reason),
                *(_json(row.answers) if row.answers else "", row.rules_version, row.created_at.isoformat()),
            )
            for row in rows
        ),
    )


def _write_submissions(archive: zipfile.ZipFile, challenge: Challenge) -> None:
    rows = challenge.submissions.select_related("phase", "team", "submitted_by", "image", "rerun_of__phase")
    _write_table(
        archive,
        "submissions.csv",
        SUBMISSION_HEADER,
        (
            (
                *(row.phase.slug, row.number, row.name, row.team.name, str(row.submitted_by or ""), row.status),
                *(row.verdict, row.fault, row.division, row.created_at.isoformat(), _moment(row.finished_at)),
                *(row.image.image_id if row.image else "", row.is_charged, row.is_disqualified, row.is_withdrawn),
                *(row.is_hidden, row.is_late, row.is_baseline),
                *(f"{row.rerun_of.phase.slug}#{row.rerun_of.number}" if row.rerun_of else "", row.flag),
            )
            for row in rows.order_by("created_at", "number").iterator(CHUNK)
        ),
    )


def _write_results(archive: zipfile.ZipFile, phase: Phase) -> None:
    """Scores, ranking, snapshots and receipts of one phase."""
    _write_table(
        archive,
        f"scores/{phase.slug}.csv",
        ("submission", "team", "scoring", "counts", "protocol", "testset", "case", "label", "metric", "value", "note"),
        _score_lines(phase),
    )
    entries = LeaderboardEntry.objects.filter(phase=phase, part=LeaderboardEntry.Part.WHOLE)
    ranked = list(entries.select_related("submission__team"))
    names = sorted({name for entry in ranked for name in entry.metrics})
    _write_table(
        archive,
        f"leaderboards/{phase.slug}.csv",
        ("rank", "team", "submission", "name", "score", "division", "division_rank", "failed_cases", *names),
        (
            (
                *(entry.rank, entry.submission.team.name, entry.submission.number, entry.submission.name, entry.score),
                *(entry.submission.division, entry.division_rank, entry.failed_cases),
                *(entry.metrics.get(name, {}).get("mean") for name in names),
            )
            for entry in ranked
        ),
    )
    for number in phase.snapshots.order_by("pk").values_list("pk", flat=True):
        document = signed_snapshot(phase=phase, snapshot_id=number)
        archive.writestr(f"snapshots/{phase.slug}-{number}.json", _json(document))
    signed = Evaluation.objects.filter(submission__phase=phase, receipt__isnull=False).order_by("pk")
    for number, scoring, receipt in signed.values_list("submission__number", "number", "receipt").iterator(CHUNK):
        archive.writestr(f"receipts/{phase.slug}-{number}-{scoring}.json", _json(receipt))


def _score_lines(phase: Phase) -> Iterator[Sequence[Any]]:
    rows = (
        CaseScores.objects.filter(evaluation__submission__phase=phase)
        .select_related("evaluation__submission__team", "evaluation__protocol", "evaluation__testset", "case")
        .defer("evaluation__testset__report")
    )
    for row in rows.order_by("evaluation__submission__number", "evaluation__number", "case__position").iterator(CHUNK):
        evaluation = row.evaluation
        head = (
            *(evaluation.submission.number, evaluation.submission.team.name, evaluation.number, evaluation.is_active),
            *(evaluation.protocol.version, str(evaluation.testset), row.case.case_id),
        )
        for label, metric, value, *note in row.scores:
            yield (*head, label, metric, value, " ".join(map(str, note)))


def _write_words(archive: zipfile.ZipFile, challenge: Challenge) -> None:
    """What was said: news, messages, the discussion, objections, and the history."""
    news = challenge.announcements.order_by("at").values("title", "text", "at", "by__username")
    archive.writestr("news.json", _json(list(news)))
    sent = challenge.messages.order_by("at").values("title", "text", "audience_words", "people", "at", "by__username")
    archive.writestr("messages.json", _json(list(sent)))
    topics = challenge.topics.select_related("by").prefetch_related("posts__by").order_by("pk")
    board = [
        {
            "title": topic.title,
            "by": str(topic.by or ""),
            "at": topic.at,
            "posts": [
                {
                    "by": str(post.by or ""),
                    "at": post.at,
                    "text": post.text,
                    "removed": post.reason or bool(post.removed_at),
                }
                for post in topic.posts.all()
            ],
        }
        for topic in topics
    ]
    archive.writestr("discussion.json", _json(board))
    objections = [
        (phase.slug, row.team.name, row.created_at.isoformat(), row.state, row.text, row.answer)
        for phase in challenge.phases.all()
        for row in phase.objections.select_related("team")
    ]
    _write_table(archive, "objections.csv", ("phase", "team", "at", "state", "text", "answer"), objections)
    events = AuditEvent.objects.filter(challenge_slug=challenge.slug).order_by("pk")
    lines = (
        (event.at.isoformat(), event.actor_label, event.verb, _json(event.details)) for event in events.iterator(CHUNK)
    )
    _write_table(archive, "audit.csv", ("at", "by", "what", "details"), lines)


def _write_table(archive: zipfile.ZipFile, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with archive.open(name, "w", force_zip64=True) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(harmless_row(row) for row in rows)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)


def _moment(at: datetime | None) -> str:
    return at.isoformat() if at else ""
