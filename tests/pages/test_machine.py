"""The operators' pages about the machine and about accounts, and the commands that do the same."""

from datetime import timedelta

import pytest
from click.testing import CliRunner
from django.urls import reverse

import factories
from assay.accounts.models import AuditEvent, User
from assay.config.cli import admin
from assay.notices.models import OutgoingMail
from assay.organizers import machine
from assay.runs.models import CaseRun, Run
from assay.workflow.operations.backups import last_backup, note_backup
from markup import markup


@pytest.fixture
def as_stan(scene, client, settings, tmp_path):
    settings.VAR = tmp_path
    client.force_login(scene.stan)
    return client


def part(client, name: str) -> machine.Part:
    return next(part for part in client.get(reverse("organizers:server")).context["parts"] if part.name == name)


def test_each_part_says_how_it_is(as_stan):
    page = markup(as_stan.get(reverse("organizers:server")))
    for words in ("connections", "Broker", "free", "0 waiting, 0 given up", "none was made on this machine"):
        assert words in page
    assert "PostgreSQL" in page


def test_a_backup_is_noted_and_grows_old(as_stan, tmp_path, now):
    note_backup(tmp_path / "b1", now=now)
    assert part(as_stan, "Last backup").is_well
    note_backup(tmp_path / "b1", now=now - timedelta(days=3))
    assert not part(as_stan, "Last backup").is_well
    (tmp_path / "last-backup.json").write_text("{")
    assert last_backup() is None


def test_mail_that_was_given_up_is_told(as_stan, now):
    OutgoingMail.objects.create(
        address="a@example.org", subject="x", written_at=now, due_at=now, gave_up_at=now, error="550"
    )
    found = part(as_stan, "Mail")
    assert (found.is_well, "550" in found.words) == (False, True)


@pytest.mark.parametrize(("days", "is_well"), [(40, True), (3, False), (None, False)])
def test_a_certificate_says_how_long_it_lasts(as_stan, settings, monkeypatch, now, days, is_well):
    settings.PUBLIC_URL = "https://assay.example.org"
    ends = "" if days is None else (now + timedelta(days=days, hours=1)).isoformat()
    monkeypatch.setattr(machine, "certificate_ends", lambda host, port: ends)
    assert part(as_stan, "Certificate").is_well == is_well


def test_a_broker_that_is_away_is_a_word_and_no_fault(as_stan, monkeypatch):
    def away() -> None:
        raise OSError

    monkeypatch.setattr(machine, "try_broker", away)
    assert part(as_stan, "Broker").words == "away: OSError"


def test_the_charts_count_the_last_day_by_hour(scene, now):
    submission = factories.submission(phase=scene.phase, team=scene.team)
    run = Run.objects.create(submission=submission, number=1, pool="default", created_at=now)
    times = {"queued_at": now - timedelta(seconds=90), "started_at": now - timedelta(seconds=60), "finished_at": now}
    for position, status in enumerate(("done", "done", "failed")):
        CaseRun.objects.create(run=run, position=position, status=status, pool="default", **times)
    words = [chart.words for chart in machine.charts_of(now=now)]
    assert words == [
        "Submissions by hour: at most 1, now 1",
        "Cases that ended well by hour: at most 2, now 2",
        "Cases that failed by hour: at most 1, now 1",
        "Mean wait of a case in seconds by hour: at most 30, now 30",
    ]


def act(client, name: str, person: str):
    return markup(client.post(reverse("organizers:accounts"), {"act": name, "person": person}, follow=True))


def test_accounts_are_promoted_closed_and_opened_by_page(as_stan, scene):
    User.objects.filter(username="stan").update(is_superuser=True)
    for name, column, value in (
        ("promote", "is_staff", True),
        ("demote", "is_staff", False),
        ("close", "is_active", False),
        ("open", "is_active", True),
    ):
        assert "Done: Pia." in act(as_stan, name, "pia")
        assert getattr(User.objects.get(username="pia"), column) is value
    assert "is the last administrator" in act(as_stan, "close", "stan")
    assert "is the last administrator" in act(as_stan, "demote", "stan")
    assert User.objects.get(username="stan").is_active
    assert "Nobody here is called" in act(as_stan, "close", "nobody")
    assert "no such act" in act(as_stan, "nonsense", "pia")
    verbs = AuditEvent.objects.filter(actor=scene.stan, verb__startswith="user.").values_list("verb", flat=True)
    assert sorted(verbs) == ["user.closed", "user.demoted", "user.opened", "user.promoted"]


def test_a_link_for_a_new_password_is_shown_once_and_works(as_stan, client):
    page = act(as_stan, "link", "pia")
    link = page.split("/password/reset/", 1)[1].split("<", 1)[0].split('"', 1)[0].split()[0]
    assert "/password/reset/" not in markup(as_stan.get(reverse("organizers:accounts")))
    client.logout()
    answer = client.get(f"/password/reset/{link}", follow=True)
    assert 'type="password"' in answer.content.decode()


def test_the_list_is_searched(as_stan):
    rows = as_stan.get(reverse("organizers:accounts") + "?q=olg").context["people"]
    assert [person.username for person in rows] == ["olga"]
    assert {p.username for p in as_stan.get(reverse("organizers:accounts") + "?kind=staff").context["people"]} == {
        "stan"
    }


@pytest.mark.parametrize("name", ["server", "accounts"])
def test_nobody_but_operators_sees_them(client, scene, name):
    for person in ("olga", "pia"):
        client.force_login(getattr(scene, person))
        assert client.get(reverse(f"organizers:{name}")).status_code == 403


def test_the_same_is_done_by_command(scene, monkeypatch):
    monkeypatch.setattr("assay.config.cli.database_answers", lambda: None)
    factories.user(username="root", is_staff=True)
    User.objects.filter(username="root").update(is_superuser=True)
    run = CliRunner().invoke
    assert "cannot sign in" in run(admin, ["close", "pia"]).output
    assert not User.objects.get(username="pia").is_active
    assert "can sign in" in run(admin, ["open", "pia"]).output
    assert "/password/reset/" in run(admin, ["password-link", "pia"]).output
    assert "last administrator" in run(admin, ["demote", "root"]).output
    assert run(admin, ["close", "nobody"]).exit_code == 1
