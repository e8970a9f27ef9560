from typing import Any

from django.db import migrations, models

from assay.accounts.names import name_key

HELP = "see `names.name_key`"


def fill_keys(apps: Any, schema_editor: object) -> None:  # noqa: ARG001  a migration's signature
    """Of teams that look alike, the later ones get a number. Accounts keep their user names; the key of a later one gets its number."""
    taken: set[str] = set()
    for team in apps.get_model("accounts", "Team").objects.order_by("pk"):
        name, number = team.name, 1
        while not name_key(name) or name_key(name) in taken:
            number += 1
            name = f"{team.name[:70]} ({number})"
        team.name, team.name_key = name, name_key(name)
        taken.add(team.name_key)
        team.save(update_fields=["name", "name_key"])
    taken = set()
    for user in apps.get_model("accounts", "User").objects.order_by("pk"):
        key = name_key(user.username)
        user.username_key = key if key and key not in taken else f"{key}#{user.pk}"
        taken.add(user.username_key)
        user.save(update_fields=["username_key"])


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_times_in_range")]

    operations = [
        migrations.AddField(
            model_name="team", name="name_key", field=models.CharField(default="", editable=False, help_text=HELP, max_length=200), preserve_default=False
        ),
        migrations.AddField(
            model_name="user", name="username_key", field=models.CharField(default="", editable=False, help_text=HELP, max_length=200), preserve_default=False
        ),
        migrations.RunPython(fill_keys, migrations.RunPython.noop),
    ]
