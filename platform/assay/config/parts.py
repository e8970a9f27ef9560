"""The commands of the single parts of an installation: what `assay serve` starts side by side, and units and containers alone."""

import os
import sys

from assay.config import env

WEB_THREADS = 16
KEEP_ALIVE_SECONDS = 75
"""How long a node that is between two cases keeps its connection."""
WORKFLOW_OPTIONS = ("--concurrency", "1")
RANKING_OPTIONS = ("--concurrency", "1")
"""Rankings and reports may take minutes each: they have a worker of their own, and nobody's upload waits behind them."""
APPLICATION = ("-A", "assay.config.celery")


def web_command(bind: str) -> list[str]:
    """Gunicorn with threads: requests and answers of any size stream through it in constant memory."""
    options = ["--worker-class", "gthread", "--threads", str(WEB_THREADS), "--timeout", "0", "--graceful-timeout", "10"]
    options += ["--workers", str(env.number(name="ASSAY_WEB_PROCESSES", default=2)), "--no-control-socket"]
    options += ["--keep-alive", str(KEEP_ALIVE_SECONDS)]
    return [sys.executable, "-m", "gunicorn", "assay.config.wsgi", "--bind", bind, *options]


def worker_command(*, name: str, queues: str, options: list[str]) -> list[str]:
    """A Celery worker for some queues, the most urgent one first."""
    command = [sys.executable, "-m", "celery", *APPLICATION, "worker", "-Q", queues, "-n", f"{name}@%h"]
    return [*command, "--loglevel", "INFO", "--without-gossip", "--without-mingle", *options]


def beat_command() -> list[str]:
    """The clock that rings for the reaper and for tidying. A second one does no harm."""
    return [sys.executable, "-m", "celery", *APPLICATION, "beat", "--loglevel", "INFO", "--pidfile="]


def scoring_options() -> list[str]:
    """How many cases are scored at once: half the processors, at least one."""
    usual = max(1, (os.cpu_count() or 1) // 2)
    return ["--concurrency", str(env.number(name="ASSAY_SCORING_SLOTS", default=usual))]
