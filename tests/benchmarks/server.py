"""What the benchmarks of the server share: a database of their own, gone afterwards, and a real web server on a free port."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from socket import create_server
from typing import TYPE_CHECKING

import django
import httpx
from django.db import connections

if TYPE_CHECKING:  # settings are read when it is imported
    from assay.config.embedded import Home

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "assay.config.settings")
os.environ.setdefault("ASSAY_LOG_LEVEL", "WARNING")


@contextmanager
def own_database() -> Iterator["Home"]:
    """An empty, migrated, durable PostgreSQL, and the place of a broker. `ASSAY_VAR` is a folder of its own meanwhile."""
    from assay.config import env
    from assay.config.embedded import home_under, running_postgres

    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
        Path(folder).chmod(0o711)
        with running_postgres(home=home_under(var=Path(folder)), is_durable=True) as home:
            os.environ.update(DATABASE_URL=home.database_url, BROKER_URL=home.broker_url, ASSAY_VAR=folder)
            django.setup()
            connections.databases["default"].update(env.database(url=home.database_url))
            from django.core.management import call_command

            call_command("migrate", interactive=False, verbosity=0)
            call_command("collectstatic", interactive=False, verbosity=0)
            try:
                yield home
            finally:
                connections.close_all()


@contextmanager
def running_web() -> Iterator[str]:
    """The web server of an installation, on a free port."""
    from assay.config.parts import web_command

    with closing(create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        quiet = {**os.environ, "GUNICORN_CMD_ARGS": "--log-level error"}
        with subprocess.Popen(web_command(f"fd://{listener.fileno()}"), pass_fds=[listener.fileno()], env=quiet) as web:
            try:
                while True:
                    try:
                        httpx.get(f"{url}/healthz", timeout=60)
                        break
                    except httpx.TransportError:
                        time.sleep(0.1)
                yield url
            finally:
                web.terminate()
