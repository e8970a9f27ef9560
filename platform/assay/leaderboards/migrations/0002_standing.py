from typing import Any

from django.db import migrations, models
from django.db.models import F


def ask_for_rebuilds(apps: Any, schema_editor: object) -> None:  # noqa: ARG001  a migration's signature
    """Boards made before have nothing to sort by: the reaper has them rebuilt."""
    apps.get_model("leaderboards", "Leaderboard").objects.update(asked=F("asked") + 1)


class Migration(migrations.Migration):
    dependencies = [("leaderboards", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="leaderboard",
            name="best",
            field=models.JSONField(default=dict, help_text="{view: {metric: best mean}} of the ranked entries"),
        ),
        migrations.AddField(
            model_name="leaderboardentry",
            name="means",
            field=models.JSONField(
                default=dict, help_text="{view: {metric: mean}}, what pages sort by: see standing.py"
            ),
        ),
        migrations.AddField(
            model_name="leaderboardentry",
            name="told_rank",
            field=models.FloatField(
                blank=True, help_text="the rank participants see where cases are closed", null=True
            ),
        ),
        migrations.AddIndex(
            model_name="leaderboardentry",
            index=models.Index(fields=["phase", "told_rank"], name="leaderboards_phase_told_rank"),
        ),
        migrations.RunPython(ask_for_rebuilds, migrations.RunPython.noop),
    ]
