from django.db import migrations, models

FILL = """
UPDATE runs_caserun case_run SET gpus = LEAST(GREATEST((submission.limits->>'gpus')::numeric, 0), 1000)::integer
FROM runs_run run JOIN submissions_submission submission ON submission.id = run.submission_id
WHERE run.id = case_run.run_id AND case_run.finished_at IS NULL AND jsonb_typeof(submission.limits->'gpus') = 'number'
"""


class Migration(migrations.Migration):
    """What waits while the server is upgraded goes to nodes with enough GPUs, too. What has ended is never claimed again."""

    dependencies = [
        ("runs", "0007_most_slots"),
    ]

    operations = [
        migrations.AddField(
            model_name="caserun",
            name="gpus",
            field=models.PositiveIntegerField(
                default=0, help_text="how many it needs: a node with fewer free ones never gets it"
            ),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
