"""A worker host for tests: the real agent over real HTTP, with a scripted engine whose runs take a while. Ends on SIGTERM."""

import signal
import sys
from pathlib import Path

from assay.node.agent import Agent, AgentOptions, Polling
from assay.node.http import NodeApi
from assay.node.logs import start_logging
from containers.engines.fake import FakeCall, FakeEnding, FakeEngine


def main(*, url: str, token: str, folder: str, seconds: str) -> None:
    """Serve until SIGTERM."""
    start_logging(level="INFO")

    def copy_input(call: FakeCall) -> FakeEnding:
        for source in call.input_dir.iterdir():
            (call.output_dir / source.name).write_bytes(source.read_bytes())
        return FakeEnding(seconds=float(seconds))

    api = NodeApi(url=url, token=token)
    registration = api.register(slots=1, inventory={"engine": "scripted"})
    options = AgentOptions(folder=Path(folder), owner=registration.owner, poll_seconds=0.2, grace_seconds=0.2)
    engine = FakeEngine(copy_input)
    agent = Agent(api=api, options=options, open_engine=lambda: engine)
    signal.signal(signal.SIGTERM, lambda *_: agent.stop())
    agent.serve(Polling(agent.stopping))


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
