"""Mails through a real SMTP server on this machine: what arrives, what is tried again, what is given up."""

import email
import email.policy
import socket
import threading
from datetime import timedelta

import pytest
from aiosmtpd.controller import Controller
from django.db import connections

import factories
from assay.notices.delivery import MOST_AT_ONCE, send_mails
from assay.notices.models import Kind, OutgoingMail
from assay.notices.outbox import HELD, WAITS
from assay.notices.selectors import mail_queue
from assay.notices.services import News, notify

NEWS = News(kind=Kind.DEADLINE, event="accepted", key="once", path="/c/brains/", facts={"challenge": "Gehirne 🧠"})


class Inbox:
    """Keeps what it is given. An answer that is set is given to every mail instead."""

    def __init__(self) -> None:
        self.mails: list[email.message.EmailMessage] = []
        self.answer = "250 kept"

    async def handle_DATA(self, server, session, envelope) -> str:
        if self.answer.startswith("250"):
            self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return self.answer


def free_port() -> int:
    """One that nobody listens on at this moment. aiosmtpd wants to know it beforehand."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def inbox(settings):
    """A server that listens, and an installation that sends to it."""
    handler = Inbox()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = controller.hostname, controller.port
    settings.DEFAULT_FROM_EMAIL = "Assay <assay@example.org>"
    yield handler
    controller.stop()


@pytest.fixture
def person(db, now):
    row = factories.user(username="ada", email="ada@example.org", display_name="Ada Ł.")
    notify(people=[row], news=NEWS, now=now)
    return row


def test_a_mail_arrives_as_it_was_written(inbox, person, now):
    assert (send_mails(now=now), send_mails(now=now)) == (1, 0)
    (mail,) = inbox.mails
    row = OutgoingMail.objects.get()
    assert (mail["To"], mail["From"]) == ("ada@example.org", "Assay <assay@example.org>")
    assert mail["Subject"] == "Assay: Gehirne 🧠: you take part"
    assert (mail["Message-ID"], mail["Auto-Submitted"]) == (f"<{row.pk}@example.org>", "auto-generated")
    assert mail["List-Unsubscribe"].strip() == f"<{row.unsubscribe_url}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "Hello Ada Ł.," in mail.get_content()
    assert (row.text, row.sent_at) == ("", now), "what has gone is not kept"


def test_a_server_that_is_away_is_tried_again_and_the_mail_arrives_once(inbox, person, now, settings):
    port, settings.EMAIL_PORT = settings.EMAIL_PORT, 9  # nobody listens there
    assert send_mails(now=now) == 0
    row = OutgoingMail.objects.get()
    assert (row.attempts, row.due_at, row.sent_at) == (1, now + WAITS[0], None)
    settings.EMAIL_PORT = port
    assert send_mails(now=now) == 0, "it waits its minute"
    assert send_mails(now=now + WAITS[0]) == 1
    assert len(inbox.mails) == 1


def test_after_seven_failures_a_mail_is_given_up_and_shown_to_operators(inbox, person, now):
    inbox.answer = "451 not now"
    for wait in (timedelta(), *WAITS):
        now += wait
        send_mails(now=now)
    queue = mail_queue()
    assert (queue.waiting, queue.given_up) == (0, 1)
    assert "451" in queue.last_error


def test_an_answer_that_will_not_change_is_not_asked_for_again(inbox, person, now):
    inbox.answer = "550 nobody here"
    send_mails(now=now)
    row = OutgoingMail.objects.get()
    assert (row.attempts, row.gave_up_at, row.text) == (1, now, "")


def test_a_worker_that_died_while_it_sent_loses_nothing(inbox, person, now):
    OutgoingMail.objects.update(due_at=now + HELD)  # taken, and never noted
    assert send_mails(now=now) == 0
    assert send_mails(now=now + HELD) == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_send_each_mail_once(inbox, now):
    people = [factories.user() for _ in range(MOST_AT_ONCE + 5)]
    notify(people=people, news=NEWS, now=now)
    together = threading.Barrier(2, timeout=60)

    def work() -> None:
        together.wait()
        send_mails(now=now)
        connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(mail["To"] for mail in inbox.mails) == sorted(person.email for person in people)
