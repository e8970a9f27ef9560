"""A hospital that has joined with a key, added data, agreed, and works through the real API without a network."""

import json
from functools import partial

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from django.test import Client
from django.utils import timezone

import factories
from assay.client.http import Connection
from assay.evaluation_sites import agreements, joining
from assay.evaluation_sites.models import Site
from assay.node import site_commands
from assay.node.http import NodeApi
from assay.node.site import SiteAgent
from assay.node.site_data import SiteData, kept_secret
from assay.node.site_home import SiteHome
from assay.node.site_joining import join
from assay.node.site_signing import SiteSigner
from assay.signatures import signed
from containers.engines.fake import FakeEnding, FakeEngine
from evaluator.volumes import Grid, Volume, write_canonical
from wire import send_through

NAMES = ("Doe^Jane", "Roe^Rik", "Poe^Pam", "Moe^Mia", "Loe^Lou")


def copy_input(call):
    """An algorithm whose answer is its input."""
    for source in call.input_dir.iterdir():
        (call.output_dir / source.name).write_bytes(source.read_bytes())
    return FakeEnding()


class Hospital:
    """`sent` holds every request that left it. `engine` may be exchanged before `agent()` is asked for."""

    def __init__(self, *, scene, folder, name: str = "st-mary") -> None:
        self.scene, self.name, self.sent, self.engine = scene, name, [], FakeEngine(copy_input)
        self.home = SiteHome(folder / name)
        self.data = folder / f"{name} data"
        self.data.mkdir()
        self.inner = send_through(Client())

    def listen(self, request: httpx.Request) -> httpx.Response:
        self.sent.append((request.url.path, request.read().decode()))
        return self.inner.handle_request(request)

    def connection(self) -> Connection:
        settings = self.home.settings
        token = settings.token if settings else ""
        return Connection(
            url="http://testserver", token=token, program="site", transport=httpx.MockTransport(self.listen)
        )

    @property
    def site(self) -> Site:
        return Site.objects.select_related("phase__challenge", "phase__protocol").get(name=self.name)

    def join(self):
        now = timezone.now()
        _, code = joining.make_code(
            phase=self.scene.phase, name=self.name, title=self.name, by=self.scene.olga, now=now
        )
        join(self.home, code=code, connection=self.connection())
        joining.approve_site(self.site, words=self.home.words(), by=self.scene.olga, now=now)
        self.home.confirm()

    def write_data(self, names=NAMES):
        lines = ["case_id,site,input:t1,reference"]
        for place, name in enumerate(names):
            labels = np.zeros((4, 4, 4), dtype=np.uint8)
            labels[1:3, 1:3, 1:3] = 1
            labels[0, 0, place % 4] = 2
            file = self.data / f"{name}.nii.gz"
            write_canonical(Volume(array=labels, grid=Grid.from_json(factories.GRID)), file)
            lines.append(f"{name},H,{file.name},{file.name}")
        (self.data / "manifest.csv").write_text("\n".join(lines))

    def register(self):
        data = SiteData(source=str(self.data), form="manifest")
        found = data.examine(secret=kept_secret(self.home.folder))
        summary = {"selfcheck": {"cases": found.case_count, "problems": 0}, "attributes": []}
        body = {"root_sha256": found.root_sha256, "case_count": found.case_count, "summary": summary}
        said = signed({"kind": "assay-site-data", **body}, key=self.home.key())
        self.connection().post("site/datasets", {**body, "said": said})
        data.keep(self.home.folder, root_sha256=found.root_sha256, case_count=found.case_count)
        return found

    def offer(self, **terms):
        dataset = self.site.datasets.order_by("-registered_at").first()
        return agreements.offer_agreement(self.site, dataset=dataset, by=self.scene.olga, now=timezone.now(), **terms)

    def agree(self):
        terms = self.connection().get("site/agreement")["agreement"]["terms"]
        return self.connection().post("site/agreement", {"said": SiteSigner(self.home).accept(terms)})

    def agent(self) -> SiteAgent:
        data, _ = SiteData.kept(self.home.folder)
        settings = self.home.joined()
        transport = httpx.MockTransport(self.listen)
        return SiteAgent(
            connection=self.connection(),
            api=NodeApi(url="http://testserver", token=settings.token, program="site", transport=transport),
            data=data,
            secret=kept_secret(self.home.folder),
            folder=self.home.folder / self.name,
            engine=self.engine,
            owner=f"site/{self.name}",
            signer=SiteSigner(self.home),
        )

    def registration(self):
        return SiteData.kept(self.home.folder)[1]

    def evaluate(self):
        agent = self.agent()
        return agent, agent.evaluate(agent.claim(self.registration()), on_case=lambda result: None)

    def release(self):
        agent, draft = self.evaluate()
        agent.release(draft)
        return draft

    def command(self, monkeypatch, *words: str, answers: str = ""):
        """`assay site …` as this hospital, whose network is the API of this process."""
        monkeypatch.setattr(site_commands, "open_connection", lambda _settings: self.connection())
        transport = httpx.MockTransport(self.listen)
        monkeypatch.setattr(site_commands, "NodeApi", partial(NodeApi, transport=transport))
        return CliRunner().invoke(site_commands.site, [*words, "--folder", str(self.home.folder)], input=answers)

    def everything_sent(self) -> str:
        return json.dumps(self.sent)


@pytest.fixture
def hospitals(scene, tmp_path):
    """Makes hospitals that are ready to work, by name."""

    def make(name: str) -> Hospital:
        made = Hospital(scene=scene, folder=tmp_path, name=name)
        made.join()
        made.write_data()
        made.register()
        made.offer()
        made.agree()
        return made

    return make


@pytest.fixture
def hospital(hospitals) -> Hospital:
    return hospitals("st-mary")


@pytest.fixture
def submission(scene):
    return factories.submission(phase=scene.phase, team=scene.team, status="done")
