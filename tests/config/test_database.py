"""The test tree really talks to PostgreSQL, and the models and migrations agree."""

import pytest
from django.core.management import call_command
from django.db import connection


@pytest.mark.django_db
def test_tests_run_on_postgresql():
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        assert cursor.fetchone()[0].startswith("PostgreSQL")


@pytest.mark.django_db
def test_no_model_has_changed_without_a_migration():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
