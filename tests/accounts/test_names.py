"""Names that look the same are the same, and no name changes how what stands beside it is read."""

import threading
from importlib import import_module

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

import factories
from assay.accounts import services
from assay.accounts.errors import ConflictError, InvalidError
from assay.accounts.models import Team, User
from assay.accounts.names import LONGEST_KEY, clean_line, clean_name, name_key

ALIKE = [
    "quin",
    "QUIN",
    "Ｑｕｉｎ",
    "Q\u200duin",
    "Quin\u00ad",
    "\u2060Quin",
    "Q\ufe0fuin",
    "  Quin ",
    "Qu\U000e0061in",
    "\u3164Quin",
]
DECEIVING = [
    "Quin\u202e",
    "\u2066Quin",
    "Q\u200fuin",
    "Quin\x00",
    "Qu\nin",
    "Quin\x1b[31m",
    "Quin\u2028x",
    "\ud800Quin",
    "Quin\ue000",
    "Quin\uffff",
]


@pytest.mark.parametrize("name", ALIKE, ids=ascii)
def test_names_that_look_alike_have_one_key(name):
    assert name_key(name) == name_key("Quin")


def test_names_that_differ_have_different_keys():
    names = ["Quin", "Quinn", "Qu in", "Qüin", "Quin 2", "Куин", "昆"]
    assert len({name_key(name) for name in names}) == len(names)


@given(st.text())
def test_the_key_of_a_key_is_itself(text):
    assert name_key(name_key(text)) == name_key(text)


@pytest.mark.parametrize("name", ["ﷺ" * 80, "ΐ" * 150, "a " * 300])
def test_a_key_fits_its_column_however_long_the_name_becomes(name):
    assert len(name_key(name)) <= LONGEST_KEY
    assert name_key(name) != name_key(name + "b")
    assert name_key(name_key(name)) == name_key(name)


def test_an_account_of_the_first_version_with_such_a_name_still_saves(db):
    user = factories.user(username="ΐ" * 150, email="iota@example.org", display_name="I")
    user.display_name = "Iota"
    user.save()
    assert User.objects.get(username_key=name_key("ΐ" * 150)).display_name == "Iota"


@pytest.mark.parametrize("name", DECEIVING, ids=ascii)
def test_a_name_that_deceives_is_refused_with_its_character(name):
    with pytest.raises(InvalidError) as refusal:
        clean_name(name, what="The team's name", longest=80)
    assert refusal.value.found.startswith("U+")


@pytest.mark.parametrize(
    "name", ["", "   ", "!!!", "\u200d\u200d", "\u3164", "\u2800", "a" * 81, "ﷺ" * 60, "e" + "\u0301\u0302" * 5]
)
def test_a_name_nobody_can_read_is_refused(name):
    with pytest.raises(InvalidError):
        clean_name(name, what="The team's name", longest=80)


@pytest.mark.parametrize("name", ["Équipe 7", "研究室", "گروه\u200cما", "Team 🧑\u200d🔬 Lab", "O’Neill & Söhne"])
def test_names_of_the_world_are_kept_as_written(name):
    assert clean_name(name, what="The team's name", longest=80) == name


def test_a_line_may_be_empty():
    assert clean_line("  ", what="The institution", longest=10) == ""


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in ALIKE if name.strip() != "Quin"], ids=ascii)
def test_a_team_that_looks_like_another_is_refused(now, name):
    services.create_team(user=factories.user(), name="Quin", now=now)
    with pytest.raises(ConflictError, match="looks like"):
        services.create_team(user=factories.user(), name=name, now=now)


@pytest.mark.django_db
def test_the_database_refuses_a_second_team_of_a_name(now):
    Team.objects.create(name="Quin", slug="one", created_at=now)
    with pytest.raises(IntegrityError), transaction.atomic():
        Team.objects.create(name="ＱＵＩＮ", slug="two", created_at=now)
    other = Team.objects.create(name="Other", slug="two", created_at=now)
    other.name = "quin\u200d"
    with pytest.raises(IntegrityError), transaction.atomic():
        other.save(update_fields=["name"])


@pytest.mark.django_db
def test_people_of_one_name_compete_under_two(now):
    first, second = (
        factories.user(
            username=name,
        )
        for name in ("quin1", "quin2")
    )
    User.objects.update(display_name="Quin")
    for person in (first, second):
        person.refresh_from_db()
    assert services.solo_team(user=first, now=now).name == "Quin"
    assert services.solo_team(user=second, now=now).name == "Quin (quin2)"
    assert services.solo_team(user=second, now=now).name == "Quin (quin2)"


@pytest.mark.django_db
def test_a_team_without_latin_letters_has_an_address(now):
    team = services.create_team(user=factories.user(), name="研究室", now=now)
    assert team.slug.startswith("team-")


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["ADA", "ａｄａ", "ada@example.org", "a\u202eda"], ids=ascii)
def test_a_user_name_that_looks_like_another_is_refused(now, name):
    values = {"password": "engines of 1843", "display_name": "", "now": now}
    services.create_user(username="ada", email="ada@example.org", **values)
    with pytest.raises(InvalidError):
        services.create_user(username=name, email="eve@example.org", **values)
    assert User.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("values", [{"display_name": "Ada\u202e"}, {"display_name": "A\x00da"}])
def test_no_name_others_see_may_deceive(now, values):
    with pytest.raises(InvalidError):
        services.create_user(username="ada", email="ada@example.org", password="engines of 1843", **values, now=now)


@pytest.mark.django_db
def test_accounts_that_were_alike_before_keys_existed_still_save(now):
    user = factories.user(username="Quin")
    User.objects.filter(pk=user.pk).update(username_key=f"quin#{user.pk}")
    user.refresh_from_db()
    factories.user(username="quin", email="second@example.org")
    user.institution = "Elsewhere"
    user.save()


@pytest.mark.django_db(transaction=True)
def test_of_two_teams_founded_at_once_one_has_the_name(now):
    people, outcomes = [factories.user(), factories.user()], []
    barrier = threading.Barrier(2)

    def found(person: User, name: str) -> None:
        barrier.wait()
        try:
            services.create_team(user=person, name=name, now=now)
            outcomes.append("founded")
        except ConflictError:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=found, args=pair) for pair in zip(people, ("Blue", "ＢＬＵＥ"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["founded", "refused"]


@pytest.mark.django_db
def test_teams_and_accounts_that_were_alike_are_told_apart_by_the_migration(now):
    teams = [Team.objects.create(name=f"T{number}", slug=f"t{number}", created_at=now) for number in range(3)]
    people = [factories.user(), factories.user()]
    for team, name in zip(teams, ("Quin", "ＱＵＩＮ", "\u200d"), strict=True):
        Team.objects.filter(pk=team.pk).update(name=name)
    for person, name in zip(people, ("Quin", "quin"), strict=True):
        User.objects.filter(pk=person.pk).update(username=name)
    import_module("assay.accounts.migrations.0003_name_keys").fill_keys(apps, None)
    named = Team.objects.filter(pk__in=[team.pk for team in teams]).order_by("pk").values_list("name_key", flat=True)
    assert list(named) == ["quin", "quin (2)", "(2)"]
    keys = (
        User.objects.filter(pk__in=[person.pk for person in people])
        .order_by("pk")
        .values_list("username_key", flat=True)
    )
    assert list(keys) == ["quin", f"quin#{people[1].pk}"]
