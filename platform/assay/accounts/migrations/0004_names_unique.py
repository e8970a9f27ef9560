from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_name_keys")]

    operations = [
        migrations.AddConstraint(
            model_name="team", constraint=models.UniqueConstraint(fields=["name_key"], name="accounts_team_name_key_unique")
        ),
        migrations.AddConstraint(
            model_name="team", constraint=models.CheckConstraint(condition=~models.Q(name_key=""), name="accounts_team_name_visible")
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                fields=["username_key"],
                name="accounts_username_key_unique",
                violation_error_message="An account with this user name, or one that looks like it, exists already.",
            ),
        ),
    ]
