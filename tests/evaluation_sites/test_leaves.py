"""What leaves a hospital is what its data-protection officer reads: every request of a hospital's whole life is captured and compared."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import httpx
import pytest

import factories
from assay.node.site_joining import leave, rotate_key
from assay.node.site_signing import released_files
from containers.engines.fake import FakeEnding

SPEC = importlib.util.spec_from_file_location("site_leaves", Path(__file__).with_name("leaves.py"))
leaves = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = leaves  # dataclasses look their module up
SPEC.loader.exec_module(leaves)
PROTOCOL = {**factories.PROTOCOL, "breakdowns": ["site"]}
HEADERS = {
    "host", "accept", "accept-encoding", "connection", "user-agent", "assay-client", "authorization", "content-length", "content-type", "range",
}  # fmt: skip
"""What a program of HTTP has to say, and our version."""


def fields_of(document, place=""):
    """The names that lead to each value. A list of texts is one value."""
    if isinstance(document, dict) and document:
        for name, inner in document.items():
            yield from fields_of(inner, f"{place}.{name}" if place else name)
    else:
        yield place


def general(field):
    """The field without the names that a protocol chose."""
    return re.sub(
        r"(aggregates|metrics|failures)\.(.+)$",
        lambda found: ".".join([found[1], *_stars(found[1], found[2].split("."))]),
        field,
    )


def _stars(kind, names):
    return ["*"] * len(names) if kind == "failures" else [*["*"] * (len(names) - 1), names[-1]]


@pytest.fixture
def life(hospitals, scene):
    """Everything that a hospital may do, done once. `(method, address, headers, body)` of each request."""
    scene.phase.protocol = factories.protocol(challenge=scene.challenge, document=PROTOCOL)
    scene.phase.save()
    captured = []
    original = httpx.MockTransport.handle_request

    def watch(self, request):
        captured.append(
            (request.method, request.url.path, set(request.headers), request.read().decode(), str(request.url))
        )
        return original(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.MockTransport, "handle_request", watch)
        hospital = hospitals("st-mary")
        hospital.write_data([f"Doe^Jane {number}" for number in range(44)])
        half = (hospital.data / "manifest.csv").read_text().replace(",H,", ",G,", 22)
        (hospital.data / "manifest.csv").write_text(half)
        hospital.register()
        hospital.offer()
        hospital.agree()
        copying = hospital.engine._script
        calls = []

        def sometimes(call):
            calls.append(call)
            return FakeEnding(exit_code=1) if len(calls) <= 6 else copying(call)

        for script in (sometimes, copying):
            factories.submission(phase=scene.phase, team=scene.team, status="done")
            hospital.engine._script = script
            agent, draft = hospital.evaluate()
            agent._renewal(agent_order(hospital, draft))._renew()
            agent.release(draft)
        factories.submission(phase=scene.phase, team=scene.team, status="done")
        agent, draft = hospital.evaluate()
        agent.decline(draft, reason="not today")
        agent.recall(released_files(agent.folder)[-1], reason="wrong labels", again=False)
        hospital.connection().get("site/about")
        rotate_key(hospital.home, connection=hospital.connection())
        leave(hospital.home, reason="", connection=hospital.connection())
    return hospital, captured


def agent_order(_hospital, draft):
    """What the renewal of a lease needs of an order."""

    class Order:
        bundle, lease_seconds, evaluation_id = None, 900.0, draft.evaluation_id

        @staticmethod
        def lease():
            return {"evaluation_id": draft.evaluation_id, "fence": draft.fence}

    return Order()


def test_what_leaves_is_what_the_page_says_and_nothing_else(life):
    hospital, captured = life
    allowed = {request.address: set(request.fields) for request in leaves.REQUESTS}
    found = {}
    for method, path, headers, body, address in captured:
        name = f"{method} {path.removeprefix('/api/v1/')}"
        assert headers <= HEADERS, name
        assert "?" not in address, name
        fields = {general(field) for field in fields_of(json.loads(body))} - {""} if body else set()
        found.setdefault(name, set()).update(fields)
    assert set(found) <= set(allowed), "a request that the page does not name"
    extra = {name: fields - allowed[name] for name, fields in found.items() if fields - allowed[name]}
    empty = {"failures", "said.failures"}  # of a result without any failure
    assert {name: fields - empty for name, fields in extra.items() if fields - empty} == {}, (
        "more leaves than the page says"
    )
    unseen = {name: allowed[name] - fields for name, fields in found.items() if allowed[name] - fields}
    assert unseen == {}, "the page names what does not leave"
    assert set(allowed) - set(found) == {"GET site/image"}, "the scripted engine has every image"
    everything = json.dumps([body for *_, body, _ in captured])
    for text in ("Doe", "Jane", "nii.gz", str(hospital.data), "manifest"):
        assert text not in everything


def test_the_page_has_the_table_of_today():
    text = leaves.PAGE.read_text(encoding="utf-8")
    assert leaves.with_table(text) == text, "run python tests/evaluation_sites/leaves.py"
