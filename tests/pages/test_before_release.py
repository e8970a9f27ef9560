"""What strangers and other participants read of a phase whose results are not released: on every page that has an address."""

import pytest
from django.urls import URLPattern, reverse

import factories
from assay.challenges.discussion import open_topic
from assay.challenges.models import Challenge, Phase
from assay.portal.urls import urlpatterns

SECRET_SCORE, SECRET_NAME = 0.7312468, "Residual encoder with a secret"


def addresses(topic: int) -> dict[str, str]:
    """Every page of the portal about a challenge or a phase. A page that is added is among them."""
    found = {}
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        route, names = str(pattern.pattern), set(pattern.pattern.converters)
        if not route.startswith("c/<slug:slug>/"):
            continue
        known = {"slug": "brains", "phase_slug": "final", "name": "faq", "topic_id": topic}
        assert names <= set(known), f"say in this test what stands for {names - set(known)} of {pattern.name}"
        found[str(pattern.name)] = reverse(f"portal:{pattern.name}", kwargs={name: known[name] for name in names})
    return found


@pytest.fixture
def hidden(scene, now):
    """An embargoed phase with a ranked row, and everything around it that people see."""
    Challenge.objects.filter(pk=scene.challenge.pk).update(
        pages=[{"slug": "faq", "title": "FAQ", "text": "Why?"}],
        pages_html={"faq": "<p>Why?</p>"},
        combined=[{"slug": "faq", "title": "All", "phases": ["final", "gone"], "by": "mean_rank"}],
    )
    Phase.objects.filter(pk=scene.phase.pk).update(is_embargoed=True, release_after=["boards", "cases", "submissions"])
    scene.phase.refresh_from_db()
    entry = factories.entry(
        phase=scene.phase, rank=1, score=SECRET_SCORE, metrics={"dice": {"mean": SECRET_SCORE, "per_label": {}}}
    )
    entry.submission.name = SECRET_NAME
    entry.submission.save()
    topic = open_topic(challenge=scene.challenge, title="Spacing?", text="In mm?", by=scene.pia, now=now)
    return entry, topic


FORMS = ("", "?format=csv", "?format=json", "?participant=1", "?view=pooled", "?s=1&s=2", "?sort=-dice")


def read_by(client, topic) -> str:
    answers = [client.get(address + form) for address in addresses(topic.pk).values() for form in FORMS]
    assert not [answer for answer in answers if answer.status_code >= 500]
    assert sum(answer.status_code == 200 for answer in answers) > len(answers) / 3
    return "".join(
        b"".join(answer.streaming_content).decode() if answer.streaming else answer.content.decode()
        for answer in answers
    )


@pytest.mark.parametrize("name", ["pia", "otto", None])
def test_nothing_of_a_hidden_phase_is_read_before_its_release(hidden, scene, client, name):
    entry, topic = hidden
    if name:
        client.force_login(getattr(scene, name))
    text = read_by(client, topic)
    for secret in (f"{SECRET_SCORE:.3f}", str(SECRET_SCORE), SECRET_NAME, entry.submission.team.name):
        assert secret not in text, secret
    assert client.get(reverse("portal:submission", args=[entry.submission.pk])).status_code in (302, 404)


def test_the_same_pages_show_it_once_it_is_released(hidden, scene, client):
    _entry, topic = hidden
    Phase.objects.filter(pk=scene.phase.pk).update(is_embargoed=False)
    text = read_by(client, topic)
    assert f"{SECRET_SCORE:.3f}" in text
    assert SECRET_NAME in text


@pytest.mark.parametrize("name", ["pia", "otto"])
def test_the_desk_is_closed_to_them(hidden, scene, client, name):
    client.force_login(getattr(scene, name))
    for page in ("pages", "page-new", "costs", "export", "submissions", "texts", "messages"):
        assert client.get(reverse(f"organizers:{page}", args=["brains"])).status_code == 403
    for page in ("after", "rules", "trial", "phase-edit"):
        assert client.get(reverse(f"organizers:{page}", args=["brains", "final"])).status_code == 403
