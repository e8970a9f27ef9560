"""The environment is read in one place, and what cannot be used is said."""

import pytest

from assay.config import env


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("Yes", True), ("off", False), ("", True)])
def test_a_flag_reads_the_usual_words(monkeypatch, value, expected):
    monkeypatch.setenv("ASSAY_X", value)
    assert env.flag(name="ASSAY_X", default=True) is expected


def test_a_flag_that_is_no_flag_is_refused_with_what_is_expected(monkeypatch):
    monkeypatch.setenv("ASSAY_X", "maybe")
    with pytest.raises(env.EnvironmentValueError, match="'maybe'; one of 1, 0"):
        env.flag(name="ASSAY_X", default=True)


def test_a_number_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("ASSAY_X", "ten")
    with pytest.raises(env.EnvironmentValueError, match="whole number"):
        env.number(name="ASSAY_X", default=1)


def test_a_database_address_becomes_djangos_form():
    assert env.database(url="postgresql://olga:s%40fe@db.example:6432/assay?sslmode=require") == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "assay",
        "USER": "olga",
        "PASSWORD": "s@fe",
        "HOST": "db.example",
        "PORT": "6432",
        "OPTIONS": {"sslmode": "require", "prepare_threshold": env.ONLY_WHERE_ASKED},
    }


def test_another_database_than_postgresql_is_refused():
    with pytest.raises(env.EnvironmentValueError, match="PostgreSQL only"):
        env.database(url="sqlite:///assay.db")
