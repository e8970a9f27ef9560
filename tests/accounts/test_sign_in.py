"""Guessing passwords is slow at every door, tells nobody who exists, and does not shut the owner out."""

import threading
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

import factories
from assay.accounts import sign_in
from assay.accounts.errors import LimitReachedError
from assay.accounts.models import AuditEvent, SignInCount

pytestmark = pytest.mark.django_db
RIGHT = "engines of 1843"


def at_page(name: str, password: str, address: str) -> Client:
    return Client().post("/login/", {"username": name, "password": password}, REMOTE_ADDR=address)


def at_admin(name: str, password: str, address: str) -> Client:
    """The admin redirects visitors to the page."""
    client = Client(REMOTE_ADDR=address)
    there = client.post("/admin/login/?next=/admin/", {"username": name, "password": password})
    assert there.status_code == 302
    return client.post(there["Location"], {"username": name, "password": password})


def at_api(name: str, password: str, address: str) -> Client:
    body = {"username": name, "password": password}
    return Client().post("/api/v1/tokens", body, content_type="application/json", REMOTE_ADDR=address)


DOORS = [at_page, at_admin, at_api]


@pytest.fixture
def ada(settings):
    settings.SIGN_IN_LIMITS = {"pair": (3, 5), "name": (6, 60), "address": (8, 15)}
    return factories.user(username="ada", password=RIGHT, is_staff=True)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_every_door_closes_after_the_same_failures_for_names_that_exist_or_not(ada, door, name):
    statuses = [door(name, "wrong", "10.0.0.1").status_code for _ in range(5)]
    assert 429 not in statuses[:3]
    assert statuses[3:] == [429, 429]
    assert door(name, RIGHT, "10.0.0.1").status_code == 429, "the right password is not looked at either"


def test_failures_at_one_door_count_at_the_others(ada):
    for door in DOORS:
        door("ada", "wrong", "10.0.0.1")
    assert [door("ada", RIGHT, "10.0.0.1").status_code for door in DOORS] == [429, 429, 429]


@pytest.mark.parametrize("spelling", ["ADA", "ａｄａ", "ada\u200d", " ada "])
def test_another_spelling_of_the_name_is_no_new_name(ada, spelling):
    for _ in range(3):
        at_api("ada", "wrong", "10.0.0.1")
    assert at_api(spelling, "wrong", "10.0.0.1").status_code == 429


def test_one_name_is_guessed_slowly_from_many_addresses(ada):
    statuses = [at_api("ada", "wrong", f"10.0.{n}.1").status_code for n in range(8)]
    assert statuses == [401] * 6 + [429] * 2


def test_many_names_are_guessed_slowly_from_one_address(ada):
    statuses = [at_api(f"name{n}", "wrong", "10.0.0.1").status_code for n in range(10)]
    assert statuses == [401] * 8 + [429] * 2


def test_a_stranger_does_not_shut_the_owner_out(ada):
    assert at_api("ada", RIGHT, "10.9.9.9").status_code == 201
    for n in range(8):
        at_api("ada", "wrong", f"10.0.{n}.1")
    assert at_api("ada", RIGHT, "10.0.77.1").status_code == 429
    assert at_api("ada", RIGHT, "10.9.9.9").status_code == 201


def test_what_was_right_costs_nothing(ada):
    assert [at_api("ada", RIGHT, "10.0.0.1").status_code for _ in range(12)] == [201] * 12


def test_the_door_opens_again_in_time(ada, now):
    attempt = sign_in.Attempt(name="ada", address="10.0.0.1")
    for _ in range(3):
        sign_in.count_attempt(attempt, now=now)
    with pytest.raises(LimitReachedError) as refusal:
        sign_in.count_attempt(attempt, now=now)
    assert refusal.value.retry_at == now + timedelta(minutes=5)
    sign_in.count_attempt(attempt, now=now + timedelta(minutes=5))


def test_failures_and_the_closing_of_a_door_are_in_the_history_without_the_password(ada):
    for _ in range(6):
        at_page("ada", "my-secret-guess", "10.0.0.1")
    at_api("my-secret-guess", "wrong", "10.0.0.2")
    verbs = list(AuditEvent.objects.values_list("verb", flat=True))
    assert verbs.count("sign_in.failed") == 4
    assert verbs.count("sign_in.throttled") == 1, "once per closing, or repeated attempts fill the disk"
    event = AuditEvent.objects.filter(verb="sign_in.failed").first()
    assert (event.object_id, event.details) == (str(ada.pk), {"address": "10.0.0.1"})
    assert "my-secret-guess" not in str(list(AuditEvent.objects.values()))


def test_the_address_is_the_one_our_own_proxy_saw(settings):
    settings.NINJA_NUM_PROXIES = 1
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="1.1.1.1, 2.2.2.2")
    assert sign_in.address_of(request) == "2.2.2.2"
    settings.NINJA_NUM_PROXIES = 0
    assert sign_in.address_of(request) == "10.0.0.1"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("unix", "unix"),
    ],
)
def test_one_customer_of_ipv6_is_one_address(address, counted):
    assert sign_in.address_of(RequestFactory().get("/", REMOTE_ADDR=address)) == counted


def test_counts_that_are_over_are_forgotten(ada, now):
    sign_in.add_one("pair:x", within=timedelta(minutes=5), now=now)
    assert sign_in.forget_old_counts(now=now + timedelta(minutes=4)) == 0
    assert sign_in.forget_old_counts(now=now + timedelta(minutes=5)) == 1


def test_sessions_that_have_ended_are_forgotten(ada, now):
    for key, days in (("over", -1), ("open", 1)):
        Session.objects.create(session_key=key, session_data="", expire_date=now + timedelta(days=days))
    assert sign_in.forget_ended_sessions(now=now) == 1
    assert list(Session.objects.values_list("session_key", flat=True)) == ["open"]


@pytest.mark.django_db(transaction=True)
def test_attempts_that_arrive_together_are_all_counted(ada):
    def one() -> None:
        barrier.wait()
        counts.append(sign_in.add_one("pair:x", within=timedelta(minutes=5), now=at)[0])
        connection.close()

    at, counts, barrier = timezone.now(), [], threading.Barrier(6)
    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [1, 2, 3, 4, 5, 6]
    assert SignInCount.objects.get().attempts == 6
