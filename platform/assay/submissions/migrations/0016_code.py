"""Code: what organizers provide for submissions of code, and images that are made of them."""

import django.db.models.deletion
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0010_identities"),
        ("challenges", "0018_keeping"),
        ("submissions", "0015_keeping"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CodePart",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(choices=[("base", "Base"), ("wheels", "Wheels")], max_length=6)),
                ("version", models.PositiveIntegerField(help_text="counts the challenge's parts of this kind from 1")),
                (
                    "identity",
                    models.CharField(
                        help_text="sha256:… as protocols name it: of the image, or of the zip", max_length=71
                    ),
                ),
                ("filename", models.CharField(max_length=255)),
                ("key", models.CharField(max_length=200)),
                ("sha256", models.CharField(help_text="of the stored file", max_length=64)),
                ("stored_bytes", models.BigIntegerField()),
                (
                    "report",
                    models.JSONField(
                        default=dict, help_text="of an image its intake report; of wheels their packages and versions"
                    ),
                ),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="algorithmimage",
            name="submissions_image_and_model_once",
        ),
        migrations.AddField(
            model_name="algorithmimage",
            name="built_on",
            field=models.CharField(
                blank=True,
                default="",
                help_text="hash of base image, wheels and mounts; empty for an image",
                max_length=64,
            ),
        ),
        migrations.AlterField(
            model_name="upload",
            name="purpose",
            field=models.CharField(
                choices=[
                    ("image", "Image"),
                    ("predictions", "Predictions"),
                    ("testset", "Testset"),
                    ("model", "Model"),
                    ("code", "Code"),
                    ("wheels", "Wheels"),
                ],
                max_length=12,
            ),
        ),
        migrations.AddConstraint(
            model_name="algorithmimage",
            constraint=models.UniqueConstraint(
                fields=("team", "archive_sha256", "model_sha256", "model_folder", "built_on"),
                name="submissions_image_and_model_once",
            ),
        ),
        migrations.AddField(
            model_name="codepart",
            name="challenge",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="code_parts", to="challenges.challenge"
            ),
        ),
        migrations.AddField(
            model_name="codepart",
            name="created_by",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddConstraint(
            model_name="codepart",
            constraint=models.UniqueConstraint(
                fields=("challenge", "kind", "identity"), name="submissions_code_part_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="codepart",
            constraint=models.UniqueConstraint(
                fields=("challenge", "kind", "version"), name="submissions_code_part_version"
            ),
        ),
    ]
