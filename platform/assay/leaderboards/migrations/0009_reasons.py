from typing import Any

from django.db import migrations, models
from django.db.models import F

CAUSES = {"the ranking changed": "ranking_changed", "the results are final": "results_final"}


def keep_reasons(apps: Any, schema_editor: object) -> None:  # noqa: ARG001  a migration's signature
    """Errors become facts. What a ranking lacks is found anew: its board asks to be rebuilt."""
    boards = apps.get_model("leaderboards", "Leaderboard").objects
    for board in boards.exclude(error="", report_error=""):
        board.trouble = {"reason": "failed", "said": board.error} if board.error else {}
        board.report_failure = {"reason": "failed", "said": board.report_error} if board.report_error else {}
        board.save(update_fields=["trouble", "report_failure"])
    boards.exclude(note="").update(asked=F("asked") + 1)
    snapshots = apps.get_model("leaderboards", "Snapshot").objects
    for sentence, cause in CAUSES.items():
        snapshots.filter(cause=sentence).update(cause=cause)


def forget(apps: Any, schema_editor: object) -> None:  # noqa: ARG001  a migration's signature
    """The way back: sentences are made again by the next rebuild."""
    snapshots = apps.get_model("leaderboards", "Snapshot").objects
    for sentence, cause in CAUSES.items():
        snapshots.filter(cause=cause).update(cause=sentence)


class Migration(migrations.Migration):

    dependencies = [
        ("leaderboards", "0008_release"),
    ]

    operations = [
        migrations.AddField(
            model_name="leaderboard",
            name="trouble",
            field=models.JSONField(blank=True, default=dict, help_text="why the last rebuild failed, see words.py; for organizers"),
        ),
        migrations.AddField(
            model_name="leaderboard",
            name="lack",
            field=models.JSONField(blank=True, default=dict, help_text="what the ranking lacks, see words.py; for everybody"),
        ),
        migrations.AddField(
            model_name="leaderboard",
            name="report_failure",
            field=models.JSONField(blank=True, default=dict, help_text="why that report failed, see words.py; for organizers"),
        ),
        migrations.RunPython(keep_reasons, forget),
        migrations.RemoveField(model_name="leaderboard", name="error"),
        migrations.RemoveField(model_name="leaderboard", name="note"),
        migrations.RemoveField(model_name="leaderboard", name="report_error"),
        migrations.AlterField(
            model_name="snapshot",
            name="cause",
            field=models.CharField(
                choices=[("ranking_changed", "the ranking changed"), ("results_final", "the results are final")], max_length=20
            ),
        ),
    ]
