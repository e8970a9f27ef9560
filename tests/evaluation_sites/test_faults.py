"""Each fault at each step of a run at a site: the run ends with one release, no fault is a score, and nothing is left.

A kill is a real SIGKILL of a process of its own. It reaches the server through the test's process, and its images and containers last, as
those of a real engine do.
"""

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import traceback
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest

import factories
from assay.client.errors import ClientError
from assay.evaluation_sites.models import SiteEvaluation, SiteLogEntry
from assay.node import http as node_http
from assay.node import local, site
from assay.node.site import SiteAgent
from assay.node.site_drafts import read_draft
from assay.node.site_group import TROUBLE
from assay.node.site_orders import order_of
from assay.node.site_problems import SiteProblem
from assay.node.site_progress import Progress
from assay.testsets import storage
from containers.engines import ImageFacts, OwnedContainer
from containers.engines.fake import FakeEnding, FakeEngine
from containers.errors import ImageAbsent

IMAGE = bytes(range(256)) * 300
SHA = hashlib.sha256(IMAGE).hexdigest()
STEPS = {
    "asking for work": (SiteAgent, "claim", 1),
    "reading the data": (SiteAgent, "_examine", 1),
    "checking the order": (SiteAgent, "_check", 1),
    "fetching the image": (SiteAgent, "_load_image", 1),
    "the first image is loaded": (site, "load_archive", 1),
    "an input": (local, "place_input", 3),
    "the container": (local, "run", 3),
    "the scores": (local, "score_batch", 3),
    "a log": (SiteAgent, "_keep_log", 3),
    "a finished case": (Progress, "add", 3),
    "the last case": (Progress, "add", 5),
    "the image is given back": (SiteAgent, "_give_back", 1),
    "the draft": (site, "write_draft", 1),
    "half of the draft": (os, "fsync", 7),
    "the release": (SiteAgent, "release", 1),
    "half of the receipt": (os, "fsync", 8),
    "the receipt": (SiteAgent, "_clear", 1),
}
"""Step → what begins it, and at which call of the run."""


def copying(call):
    for source in call.input_dir.iterdir():
        (call.output_dir / source.name).write_bytes(source.read_bytes())
    return FakeEnding()


class LastingEngine(FakeEngine):
    """A scripted engine whose images and containers lie on the disk, so that they outlive the process that made them."""

    def __init__(self, folder):
        super().__init__(copying)
        self.folder = folder
        for kind in ("images", "containers"):
            (folder / kind).mkdir(parents=True, exist_ok=True)

    def left(self):
        return [str(path) for path in self.folder.glob("*/*")]

    def _image(self, image_id):
        return self.folder / "images" / image_id.replace(":", "-")

    def image_facts(self, image_id):
        if not self._image(image_id).exists():
            raise ImageAbsent(image_id)
        return ImageFacts(image_id=image_id)

    def load_image(self, archive):
        self._image(f"sha256:{archive.stem}").touch()

    def remove_image(self, image_id):
        self._image(image_id).unlink(missing_ok=True)

    def create(self, *, name, body):
        container_id = super().create(name=name, body=body)
        (self.folder / "containers" / name).touch()
        return container_id

    def remove(self, container_id):
        name = self.containers[container_id].name if container_id in self.containers else container_id
        super().remove(container_id)
        (self.folder / "containers" / name).unlink(missing_ok=True)

    def containers_of(self, owner):
        found = sorted((self.folder / "containers").iterdir())
        return [OwnedContainer(container_id=path.name, name=path.name) for path in found]


class Network:
    """Between hospital and server. It may be away, and it flips a byte of so many answers."""

    def __init__(self, inner):
        self.inner, self.is_away, self.flips = inner, False, 0

    def handle_request(self, request):
        if self.is_away:
            raise httpx.ConnectError("away")
        answer = self.inner.handle_request(request)
        content = bytearray(answer.content)
        if self.flips and content:
            self.flips -= 1
            content[len(content) // 2] ^= 1
        kept = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
        return httpx.Response(answer.status_code, content=bytes(content), headers=kept)


@pytest.fixture
def faulty(hospital, tmp_path, monkeypatch):
    """A hospital with such a network and such an engine, that loses no time between tries."""
    monkeypatch.setattr(node_http, "RETRY_SECONDS", (0.0,))
    monkeypatch.setattr(local, "RETRY_SECONDS", (0.0,))
    hospital.inner = hospital.network = Network(hospital.inner)
    hospital.engine = LastingEngine(tmp_path / "engine")
    return hospital


def submit(scene, folder):
    made = factories.submission(phase=scene.phase, team=scene.team, status="done")
    archive = folder / "image.tar"
    archive.write_bytes(IMAGE)
    image = made.image
    image.rewritten_key = storage.keep_file(source=archive, key=f"images/{SHA}.tar").key
    image.image_id, image.rewritten_sha256, image.rewritten_bytes = f"sha256:{SHA}", SHA, len(IMAGE)
    image.save()
    return made


def work(hospital):
    """What `assay site run` and a person who approves do."""
    agent = hospital.agent()
    with agent.alone():
        order = agent.claim(hospital.registration())
        drafts = agent.drafts() if order is None else [agent.evaluate(order, on_case=lambda result: None)]
        for draft in drafts:
            agent.release(draft)


def left(hospital):
    """What no run may leave: containers, images, inputs, predictions, finished cases, drafts, halves of files."""
    home = hospital.home.folder / hospital.name
    places = ("scratch", "progress", "predictions", "images")
    files = [path for name in places for path in (home / name).rglob("*")]
    files += [path for path in (home / "releases").iterdir() if path.suffix != ".released"]
    return [*hospital.engine.left(), *map(str, files)]


def at(step, monkeypatch, happens):
    """Let `happens` be called where this step begins."""
    owner, name, place = STEPS[step]
    original, calls = getattr(owner, name), []

    def watched(*arguments, **words):
        calls.append(name)
        if len(calls) == place:
            happens()
        return original(*arguments, **words)

    monkeypatch.setattr(owner, name, watched)
    return calls


def in_another_process(hospital, step, monkeypatch):
    """Work in a process that kills itself where the step begins."""
    ours, theirs = multiprocessing.Pipe()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            hospital.inner = httpx.MockTransport(lambda request: asked(request, theirs))
            at(step, monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
            work(hospital)
        except BaseException:  # noqa: BLE001  it must not go on as a second pytest
            traceback.print_exc()
        os._exit(1)
    theirs.close()
    try:
        while True:
            method, url, headers, content = ours.recv()
            answer = hospital.inner.handle_request(httpx.Request(method, url, headers=headers, content=content))
            ours.send((answer.status_code, list(answer.headers.items()), answer.content))
    except EOFError:
        pass
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, f"{step} was not reached"


def asked(request, pipe):
    pipe.send((request.method, str(request.url), list(request.headers.items()), request.read()))
    status, headers, content = pipe.recv()
    kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
    return httpx.Response(status, content=content, headers=kept)


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


def broken_in(hospital, fault, step, monkeypatch):
    """One run into the fault. It says what is wrong in words, or goes on."""
    if fault == "kill -9":
        in_another_process(hospital, step, monkeypatch)
        return
    happenings = {
        "disk full": full,
        "server away": lambda: setattr(hospital.network, "is_away", True),
        "byte flipped": lambda: setattr(hospital.network, "flips", 1),
    }
    with monkeypatch.context() as patch:
        calls = at(step, patch, happenings[fault])
        with suppress(*TROUBLE):  # anything else is a traceback for the hospital
            work(hospital)
            assert fault != "disk full", f"{step} passed a full disk"
    assert len(calls) >= STEPS[step][2], f"{step} was not reached"
    hospital.network.is_away, hospital.network.flips = False, 0


@pytest.mark.parametrize("fault", ["kill -9", "server away", "byte flipped", "disk full"])
def test_each_fault_at_each_step_ends_with_one_release_and_nothing_left(fault, faulty, scene, tmp_path, monkeypatch):
    for number, step in enumerate(STEPS, start=1):
        made = submit(scene, tmp_path)
        broken_in(faulty, fault, step, monkeypatch)
        work(faulty)
        row = SiteEvaluation.objects.get(submission=made)
        assert (row.status, row.release["metrics"]["dice"]["mean"]) == ("released", 1.0), step
        assert row.release["failures"] == {}, f"{step}: a fault of ours is nobody's score"
        assert SiteLogEntry.objects.filter(kind="release").count() == number, f"{step}: once"
        papers = faulty.home.folder / faulty.name / "releases"
        assert len(list(papers.glob("*.released"))) == number, f"{step}: one receipt"
        assert left(faulty) == [], step
        work(faulty)
        assert SiteLogEntry.objects.filter(kind="release").count() == number, f"{step}: not again"


def test_no_flipped_byte_of_an_order_is_worked_on(faulty, scene, tmp_path):
    """Each byte of the server's answer, one after the other."""
    submit(scene, tmp_path)
    agent, answers = faulty.agent(), []
    inner, faulty.inner = faulty.inner, httpx.MockTransport(lambda request: kept(request, inner, answers))
    order = agent.claim(faulty.registration())
    (answer,) = answers
    whole, refused = json.loads(answer), 0
    root = order.root_sha256
    for place in range(len(answer)):
        changed = bytearray(answer)
        changed[place] ^= 1
        try:
            found = json.loads(changed)
        except ValueError:
            continue  # the connection says that this is no answer
        if found == whole:
            continue
        try:
            meant = order_of(found)
            agent._check(meant, signer=agent._signer, data_root=root)
        except (SiteProblem, *TROUBLE):
            refused += 1
            continue
        names = ("fence", "lease_seconds", "image", "root_sha256", "sealed_bytes")
        unsigned = {name: getattr(order, name) for name in names}
        assert replace(meant, **unsigned) == order, "nothing else of an order that holds may differ"
        assert meant.image.sha256 == order.image.sha256
    assert refused > len(answer) / 2


def kept(request, inner, answers):
    answer = inner.handle_request(request)
    if request.url.path.endswith("/claim"):
        answers.append(answer.content)
    return answer


def flip(path, *, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("place", [5, 300, -200, -4])
def test_a_byte_that_the_disk_flipped_in_a_finished_case_costs_that_case_again(place, faulty, scene, tmp_path):
    submit(scene, tmp_path)
    agent = faulty.agent()
    order, ran = agent.claim(faulty.registration()), []

    def stop(result):
        ran.append(result.case_id)
        if len(ran) == 3:
            full()

    with pytest.raises(OSError, match="No space"):
        agent.evaluate(order, on_case=stop)
    flip(agent._progress_of(order.evaluation_id), place=place)
    work(faulty)
    row = SiteEvaluation.objects.get()
    assert (row.status, row.release["metrics"]["dice"]["mean"], row.release["failures"]) == ("released", 1.0, {})
    assert left(faulty) == []


@pytest.mark.parametrize("harm", ["a byte flipped", "cut off", "empty"])
def test_a_draft_that_the_disk_did_not_keep_is_made_anew_without_running_a_case(harm, faulty, scene, tmp_path):
    submit(scene, tmp_path)
    _, draft = faulty.evaluate()
    content = draft.path.read_text()
    harmed = {
        "a byte flipped": content.replace('"mean": 1.0', '"mean": 0.0', 1),
        "cut off": content[:-30],
        "empty": "",
    }
    assert harmed[harm] != content
    draft.path.write_text(harmed[harm])
    with pytest.raises(SiteProblem, match="assay site run"):
        faulty.agent().drafts()
    faulty.engine = FakeEngine(lambda call: pytest.fail("a finished case ran again"))
    work(faulty)
    row = SiteEvaluation.objects.get()
    assert (row.status, row.release["metrics"]["dice"]["mean"]) == ("released", 1.0)


def test_a_draft_of_an_older_program_is_still_read(faulty, scene, tmp_path):
    submit(scene, tmp_path)
    _, draft = faulty.evaluate()
    document = json.loads(draft.path.read_text())
    assert document.pop("content_sha256")
    draft.path.write_text(json.dumps(document))
    assert read_draft(draft.path).aggregates == draft.aggregates


@pytest.mark.parametrize("arrives", [False, True], ids=["before it arrives", "before the answer"])
def test_a_server_that_is_away_while_a_release_is_sent_takes_it_once(arrives, faulty, scene, tmp_path):
    submit(scene, tmp_path)
    agent, draft = faulty.evaluate()
    inner = faulty.inner

    def away(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/release"):
            if arrives:
                inner.handle_request(request)
            raise httpx.ConnectError("away")
        return inner.handle_request(request)

    faulty.inner = httpx.MockTransport(away)
    with pytest.raises(ClientError):
        agent.release(draft)
    faulty.inner = inner
    (waiting,) = agent.drafts()
    agent.release(waiting)
    row = SiteEvaluation.objects.get()
    assert row.status == "released"
    (receipt,) = (agent.folder / "releases").glob("*.released")
    assert row.receipt["log_sha256"] in receipt.read_text()
    with agent.alone():
        pass
    assert left(faulty) == []
