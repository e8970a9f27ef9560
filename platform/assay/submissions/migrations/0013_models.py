"""Models: archives of weights that are handed in beside an image and become its last layer."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("submissions", "0012_budgets")]

    operations = [
        migrations.AlterField(
            model_name="upload",
            name="purpose",
            field=models.CharField(
                choices=[
                    ("image", "Image"),
                    ("predictions", "Predictions"),
                    ("testset", "Testset"),
                    ("model", "Model"),
                ],
                max_length=12,
            ),
        ),
        migrations.AddField(
            model_name="algorithmimage",
            name="model_upload",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="model_images",
                to="submissions.upload",
            ),
        ),
        migrations.AddField(
            model_name="algorithmimage",
            name="model_sha256",
            field=models.CharField(
                blank=True,
                default="",
                help_text="of the model archive that became its last layer, or empty",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="algorithmimage",
            name="model_folder",
            field=models.CharField(blank=True, default="", help_text="where the model's files lie", max_length=200),
        ),
        migrations.RemoveConstraint(model_name="algorithmimage", name="submissions_image_once_per_team"),
        migrations.AddConstraint(
            model_name="algorithmimage",
            constraint=models.UniqueConstraint(
                fields=("team", "archive_sha256", "model_sha256", "model_folder"),
                name="submissions_image_and_model_once",
            ),
        ),
    ]
