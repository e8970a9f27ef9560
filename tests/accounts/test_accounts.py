"""People, teams, tokens and the log of what they did."""

from datetime import timedelta

import pytest

import factories
from assay.accounts import selectors, services, tokens
from assay.accounts.audit import record_event
from assay.accounts.errors import ConflictError, InvalidError, NotAllowedError, NotFoundError
from assay.accounts.models import ApiToken, AuditEvent, Team, User

pytestmark = pytest.mark.django_db
GOOD = {"username": "ada", "email": "ada@example.org", "password": "engines of 1843", "display_name": "Ada"}


@pytest.fixture
def ada(now) -> User:
    return services.create_user(**GOOD, now=now)


def test_somebody_who_signs_up_can_sign_in(ada, client):
    assert client.login(username="ada", password="engines of 1843")
    assert ada.password != GOOD["password"]
    assert AuditEvent.objects.get(verb="user.signed_up").actor == ada


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"password": "short"}, "Password: "),
        ({"password": "1234567890"}, "Password: "),
        ({"username": "no spaces"}, "A user name has no spaces"),
        ({"username": "bob@home"}, "A user name is no e-mail address"),
        ({"username": "ada"}, "User name: "),
        ({"email": "nowhere"}, "E-mail: "),
        ({"username": "ada2", "email": "ADA@example.org"}, "An account with this e-mail address exists already"),
    ],
)
def test_what_cannot_be_an_account_is_refused_with_its_field(ada, now, changes, says):
    values = {"username": "bob", "email": "bob@example.org", "password": "engines of 1843", "display_name": ""}
    with pytest.raises(InvalidError, match=says):
        services.create_user(**(values | changes), now=now)
    assert User.objects.count() == 1


def user_of(*, secret, now):
    token = tokens.token_of(secret=secret, now=now)
    return token and token.user


def test_a_token_is_shown_once_and_stored_as_a_hash(ada, now):
    row, secret = tokens.issue_token(user=ada, name="laptop", days=30, now=now)
    assert secret.startswith("assay_")
    assert secret not in str(ApiToken.objects.values())
    assert user_of(secret=secret, now=now) == ada
    row.refresh_from_db()
    assert row.last_used_at == now


def test_a_token_ends_when_it_expires(ada, now):
    _, secret = tokens.issue_token(user=ada, name="laptop", days=1, now=now)
    assert user_of(secret=secret, now=now + timedelta(hours=23)) == ada
    assert user_of(secret=secret, now=now + timedelta(days=1)) is None


def test_a_revoked_token_is_useless_and_nobody_else_can_revoke_it(ada, now):
    row, secret = tokens.issue_token(user=ada, name="laptop", days=1, now=now)
    with pytest.raises(NotFoundError):
        tokens.revoke_token(user=factories.user(), token_id=row.pk, now=now)
    tokens.revoke_token(user=ada, token_id=row.pk, now=now)
    tokens.revoke_token(user=ada, token_id=row.pk, now=now)
    assert user_of(secret=secret, now=now) is None
    assert list(selectors.tokens_of(user=ada)) == []
    assert AuditEvent.objects.filter(verb="token.revoked").count() == 1


def test_the_token_of_somebody_shut_out_is_useless(ada, now):
    _, secret = tokens.issue_token(user=ada, name="laptop", days=1, now=now)
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert user_of(secret=secret, now=now) is None


@pytest.mark.parametrize("days", [0, -1, 367])
def test_a_token_lives_between_a_day_and_a_year(ada, now, days):
    with pytest.raises(InvalidError, match="between one day and one year"):
        tokens.issue_token(user=ada, name="x", days=days, now=now)


def test_a_token_in_steady_use_is_not_written_at_every_request(ada, now, django_assert_num_queries):
    _, secret = tokens.issue_token(user=ada, name="laptop", days=1, now=now)
    user_of(secret=secret, now=now)
    user_of(secret=secret, now=now + timedelta(minutes=1))
    assert ApiToken.objects.get().last_used_at == now


def test_a_team_has_a_captain_who_invites(ada, now):
    team = services.create_team(user=ada, name="Blue Lab", now=now)
    invite, secret = services.invite_to_team(user=ada, team=team, email="bob@example.org", now=now)
    bob, eve = factories.user(username="bob"), factories.user(username="eve")
    assert services.accept_invite(user=bob, secret=secret, now=now) == team
    assert set(team.members.all()) == {ada, bob}
    with pytest.raises(ConflictError, match="used already"):
        services.accept_invite(user=eve, secret=secret, now=now)
    with pytest.raises(NotAllowedError, match="captain"):
        services.invite_to_team(user=bob, team=team, email="eve@example.org", now=now)
    assert secret not in invite.token_hash


def test_an_invite_expires_and_an_unknown_one_is_not_found(ada, now):
    team = services.create_team(user=ada, name="Blue Lab", now=now)
    _, secret = services.invite_to_team(user=ada, team=team, email="bob@example.org", now=now)
    with pytest.raises(ConflictError):
        services.accept_invite(user=factories.user(), secret=secret, now=now + timedelta(days=15))
    with pytest.raises(NotFoundError):
        services.accept_invite(user=factories.user(), secret="assayinvite_made-up", now=now)


def test_a_team_name_is_taken_once(ada, now):
    services.create_team(user=ada, name="Blue Lab", now=now)
    with pytest.raises(ConflictError, match="already"):
        services.create_team(user=factories.user(), name="blue lab", now=now)
    with pytest.raises(InvalidError):
        services.create_team(user=ada, name="!!!", now=now)


def test_a_team_of_one_is_made_once_and_takes_nobody_else(ada, now):
    team = services.solo_team(user=ada, now=now)
    assert services.solo_team(user=ada, now=now) == team
    assert Team.objects.count() == 1
    with pytest.raises(ConflictError, match="for one person"):
        services.invite_to_team(user=ada, team=team, email="bob@example.org", now=now)


def test_nobody_can_take_the_name_of_somebodys_team_of_one(ada, now):
    mallory = factories.user(username="mallory")
    taken = services.create_team(user=mallory, name=f"_solo-{ada.pk}", now=now)
    assert services.solo_team(user=ada, now=now) != taken


def test_only_your_own_teams_are_yours_to_see(ada, now):
    team = services.create_team(user=ada, name="Blue Lab", now=now)
    assert selectors.get_team(user=ada, slug="blue-lab") == team
    with pytest.raises(NotFoundError):
        selectors.get_team(user=factories.user(), slug="blue-lab")


def test_history_names_processes_where_nobody_in_person_acted(ada, now):
    event = record_event(verb="node.lost", subject=("node", 7), now=now, actor_label="reaper", silent_seconds=90)
    assert (event.actor, event.actor_label, event.object_type, event.object_id) == (None, "reaper", "node", "7")
    assert event.details == {"silent_seconds": 90}
