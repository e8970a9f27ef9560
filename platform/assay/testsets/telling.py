"""What people are told about agreements. Each of these is called in the transaction of what it tells."""

from datetime import datetime

from django.urls import reverse

from assay.challenges.telling import organizing
from assay.notices.models import Kind
from assay.notices.services import News, notify
from assay.testsets.models import Signature


def tell_withdrawal(*, signature: Signature, now: datetime) -> None:
    """Somebody withdrew an agreement: the organizers may want to ask what becomes of the data."""
    challenge = signature.agreement.challenge
    news = News(
        kind=Kind.REQUEST,
        event="agreement_withdrawn",
        key=f"agreement_withdrawn:{signature.pk}",
        path=reverse("organizers:downloads", args=[challenge.slug]),
        facts={
            "challenge": challenge.title,
            "person": str(signature.user),
            "data": signature.agreement.testset_name,
        },
        challenge_slug=challenge.slug,
    )
    notify(people=organizing(challenge), news=news, now=now)


def tell_agreement_decision(*, signature: Signature, event: str, now: datetime) -> None:
    """An organizer revoked somebody's agreement, or gave it back."""
    challenge = signature.agreement.challenge
    news = News(
        kind=Kind.ACCEPTANCE,
        event=event,
        key=f"{event}:{signature.pk}:{now.isoformat()}",
        path=f"{reverse('portal:rules', args=[challenge.slug])}#data",
        facts={"challenge": challenge.title, "data": signature.agreement.testset_name}
        | ({"reason": signature.reason} if signature.reason else {}),
        challenge_slug=challenge.slug,
    )
    notify(people=[signature.user], news=news, now=now)
