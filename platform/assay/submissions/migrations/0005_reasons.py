"""A code and facts instead of a sentence. Rows that have a sentence keep it, under the name `earlier_text`."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('submissions', '0004_resuming'),
    ]

    operations = [
        migrations.RenameField(model_name='submission', old_name='verdict_text', new_name='earlier_text'),
        migrations.AlterField(
            model_name='submission',
            name='earlier_text',
            field=models.CharField(blank=True, help_text='the sentence of a row from before there were reasons, shown as it is', max_length=300),
        ),
        migrations.AddField(
            model_name='submission',
            name='reason',
            field=models.CharField(blank=True, default='', help_text='a code of submissions.reasons, or empty', max_length=60),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='submission',
            name='facts',
            field=models.JSONField(default=dict, help_text="what the reason's sentence needs; safe to show the participant"),
        ),
    ]
