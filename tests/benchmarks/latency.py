"""`python tests/benchmarks/latency.py` (part of `make bench`): how long a queued case waits for an idle node.

A real web server, a real broker and the real agent with Docker. Each round makes a bare container with the engine and starts it,
then queues a case. It prints the time from "queued" to the engine's create request, and from "queued" to `StartedAt` beside the
time from the bare create request to its `StartedAt`.
"""

import argparse
import io
import random
import statistics
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from figures import beside_bar, host, keep
from server import own_database, running_web

from containers.base.build import base_image
from containers.engines import OWNER_LABEL
from containers.engines.docker import DockerEngine

OWNER = "bench/latency"
PATIENCE_SECONDS = 60


@dataclass
class Moments:
    """When the newest container was asked for, and when it ran."""

    created: list[float] = field(default_factory=list)
    started: list[float] = field(default_factory=list)


class TimedEngine(DockerEngine):
    """Notes when it is asked for a container, and when that started."""

    moments = Moments()

    def create(self, *, name, body):
        self.moments.created.append(time.time())
        return super().create(name=name, body=body)

    def remove(self, container_id):
        self.moments.started.append(self.state(container_id).started_at.timestamp())
        super().remove(container_id)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="keep the table in tests/benchmarks/README.md")
    asked = parser.parse_args()
    bare, to_create, to_start = measure(rounds=asked.rounds)
    above = 1000 * (statistics.median(to_start) - statistics.median(bare))
    lines = [
        f"| milliseconds, median of {asked.rounds} | found | at most |",
        "|---|---|---|",
        f"| queued → the engine's create request | {beside_bar(1000 * statistics.median(to_create), bar=50)} | 50 |",
        f"| bare create request → `StartedAt` | {1000 * statistics.median(bare):.0f} | |",
        f"| queued → `StartedAt` | {1000 * statistics.median(to_start):.0f} | |",
        f"| … above the bare one | {beside_bar(above, bar=80)} | 80 |",
        "",
        f"{host()}.",
    ]
    print(*lines, sep="\n")
    if asked.write:
        keep(lines, program="latency")


def measure(*, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds of every round: of a bare container to its start, of a queued case to its create request and to its start."""
    bare, to_create, to_start = [], [], []
    with DockerEngine() as engine, own_database() as home:
        from assay.config.embedded import running_broker

        image_id = engine.image_facts(base_image()).image_id
        with running_broker(home=home), running_web() as url:
            node, threads = start_node(url=url, folder=home.path.parent / "node", broker=home.broker_url)
            phase, team = make_phase()
            for number in range(rounds + 1):
                without, queued_at = bare_seconds(engine, image_id=image_id), queue_case(phase, team, image_id)
                if number:  # the first loads what every process loads once
                    bare.append(without)
                    to_create.append(TimedEngine.moments.created[-1] - queued_at)
                    to_start.append(TimedEngine.moments.started[-1] - queued_at)
            node.stop()
            for thread in threads:
                thread.join()
    return bare, to_create, to_start


def start_node(*, url, folder, broker):
    """One idle node, woken by the broker."""
    from assay.node.agent import Agent, AgentOptions
    from assay.node.doorbell import BrokerDoorbell
    from assay.node.http import NodeApi
    from assay.runs.nodes import enrol_node

    _, token = enrol_node(name="bench", pool="default", slots=1, by=None, now=datetime.now(UTC))
    api = NodeApi(url=url, token=token)
    api.register(slots=1, inventory={})
    options = AgentOptions(folder=folder, owner=OWNER, poll_seconds=30)
    agent = Agent(api=api, options=options, open_engine=TimedEngine)
    doorbell = BrokerDoorbell(url=broker, pool="default", stopping=agent.stopping)
    doorbell.start()
    thread = threading.Thread(target=agent.serve, args=[doorbell])
    thread.start()
    return agent, [thread, doorbell]


def make_phase():
    """A phase of one case with a small input image, whose containers end at once."""
    import factories
    from assay.testsets import storage

    rules = {**factories.PROTOCOL["resources"], "command": ["true"], "output_mb": 64}
    challenge = factories.challenge()
    protocol = factories.protocol(challenge=challenge, document={**factories.PROTOCOL, "resources": rules})
    testset = factories.testset(challenge=challenge, case_ids=["a"])
    case = testset.cases.get()
    stored = storage.save_file(key=case.inputs[0]["key"], stream=io.BytesIO(bytes(10_000)), max_bytes=2**20)
    case.inputs[0].update(sha256=stored.sha256, bytes=stored.bytes)
    case.save()
    phase = factories.phase(challenge=challenge, testset=testset, protocol=protocol)
    return phase, factories.team(members=[factories.user()])


def queue_case(phase, team, image_id: str) -> float:
    """Queue one case as an accepted submission does, and wait for its end. Gives the moment it was queued."""
    from django.db import transaction

    import factories
    from assay.runs import services
    from assay.workflow.flow import doorbells

    image = factories.image(team=team, image_id=image_id)
    submission = factories.submission(phase=phase, team=team, image=image, status="queued")
    queued_at = datetime.now(UTC)
    with transaction.atomic():
        run = services.create_run(submission=submission, now=queued_at, shuffle=random.Random(1))
        doorbells.ring_pool(run.pool)
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while run.case_runs.filter(finished_at=None).exists():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"the case was not run within {PATIENCE_SECONDS} s: {run.case_runs.values()}")
        time.sleep(0.05)
    time.sleep(0.3)  # let the node fall idle again
    return queued_at.timestamp()


def bare_seconds(engine: DockerEngine, *, image_id: str) -> float:
    """From the create request of a plain container to its `StartedAt`."""
    body = {
        "Image": image_id,
        "Entrypoint": ["true"],
        "Labels": {OWNER_LABEL: OWNER},
        "HostConfig": {"NetworkMode": "none"},
    }
    asked_at = time.time()
    container_id = engine.create(name=f"assay-bench-bare-{time.time_ns()}", body=body)
    engine.start(container_id)
    started_at = engine.state(container_id).started_at.timestamp()
    engine.remove(container_id)
    return started_at - asked_at


if __name__ == "__main__":
    main()
