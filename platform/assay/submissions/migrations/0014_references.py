"""References: images that lie in a registry and are fetched by the server."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('submissions', '0013_models'),
    ]

    operations = [
        migrations.AddField(
            model_name='upload',
            name='reference',
            field=models.CharField(blank=True, default='', help_text='of an image in a registry, by digest: it is fetched, not sent', max_length=400),
        ),
        migrations.AddField(
            model_name='upload',
            name='sealed_login',
            field=models.TextField(blank=True, default='', help_text='user and password of the registry, encrypted; empty once the image is checked'),
        ),
    ]
