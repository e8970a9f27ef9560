"""The agent's log: events with keys, one line each, to standard error. Never tokens, addresses of files, or participants' output."""

import logging

STANDARD_KEYS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class EventFormatter(logging.Formatter):
    """`2026-11-21 05:30:00 INFO agent.started slots=2`."""

    def format(self, record: logging.LogRecord) -> str:
        """The event and its keys."""
        keys = [f"{name}={value}" for name, value in vars(record).items() if name not in STANDARD_KEYS]
        return " ".join([super().format(record), *keys])


def start_logging(*, level: str) -> None:
    """For a process whose only job is the agent."""
    handler = logging.StreamHandler()
    handler.setFormatter(EventFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for talkative in ("httpx", "httpcore", "urllib3", "docker", "amqp", "kombu"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
