from django.db import migrations, models

CREATE = """
CREATE TABLE IF NOT EXISTS assay_cache (cache_key varchar(255) PRIMARY KEY, value text NOT NULL, expires timestamptz NOT NULL);
CREATE INDEX IF NOT EXISTS assay_cache_expires ON assay_cache (expires);
"""
"""As `manage.py createcachetable` makes it, so that nobody has to know that command."""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_names_unique")]

    operations = [
        migrations.RunSQL(CREATE, "DROP TABLE IF EXISTS assay_cache"),
        migrations.CreateModel(
            name="SignInCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("counted", models.CharField(help_text="what is counted and a hash of whose it is", max_length=80, unique=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("until", models.DateTimeField(db_index=True)),
            ],
        ),
    ]
