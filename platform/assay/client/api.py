"""The Python client: what the command does, for programs and notebooks.

```python
from assay import Client

with Client() as client:  # the server and token of `assay login`
    submission = client.submit("my-algorithm.tar.gz", phase="mni-brain-tissue/open", name="My algorithm", wait=True)
    for case in client.cases(submission.id):
        print(case.case, case.verdict, case.scores)
```

Every method raises `ClientError`: `RefusedError` where the server said no (with `status` and `code`), `UnreachableError` where it
did not answer. Reading is tried again when the network fails. Writing never is.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from assay.client.credentials import choose_credentials, config_path
from assay.client.errors import ClientError, RefusedError, UnreachableError
from assay.client.http import Connection
from assay.client.records import Case, Challenge, Entry, Leaderboard, Metric, Person, Phase, Score, Submission
from assay.client.session import phase_path, split_phase
from assay.client.submitting import MODEL_FOLDER, HandedIn, hand_in
from assay.client.watching import choose_reporter, wait_until_finished

__all__ = [
    "AsyncClient", "Case", "Challenge", "Client", "ClientError", "Entry", "Leaderboard", "Metric", "Person", "Phase",
    "RefusedError", "Score", "Submission", "UnreachableError",
]  # fmt: skip

PAGE = 100
URL, TOKEN = "ASSAY_URL", "ASSAY_TOKEN"
Answer = TypeVar("Answer")


def _token_for(url: str) -> str:
    """The environment's token, which goes to the environment's server only."""
    server = os.environ.get(URL, "")
    return os.environ.get(TOKEN, "") if not url or not server or url.rstrip("/") == server.rstrip("/") else ""


class Client:
    """A connection to one server as one person.

    `url` and `token` default to `ASSAY_URL` and `ASSAY_TOKEN`, else to what `assay login` keeps. `progress` is `auto` (bars where
    a terminal looks on), `bar`, `json` or `none`.
    """

    def __init__(
        self, url: str = "", token: str = "", *, progress: str = "none", transport: httpx.BaseTransport | None = None
    ) -> None:
        chosen = choose_credentials(
            url=url or os.environ.get(URL, ""), token=token or _token_for(url), path=config_path()
        )
        self.url = chosen.url
        self._progress = progress
        self._connection = Connection(url=chosen.url, token=chosen.token, program="python", transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.__exit__(None, None, None)

    def me(self) -> Person:
        """The account of the token."""
        return Person.from_json(self._connection.get("me"))

    def challenges(self, search: str = "") -> list[Challenge]:
        """The challenges you may see."""
        return [Challenge.from_json(row) for row in self._connection.get("challenges", search=search or None)]

    def challenge(self, slug: str) -> Challenge:
        """One challenge with its phases."""
        return Challenge.from_json(self._connection.get(f"challenges/{slug}"))

    def phase(self, phase: str) -> Phase:
        """The phase CHALLENGE/PHASE."""
        return Phase.from_json(self._connection.get(phase_path(phase)), challenge=split_phase(phase)[0])

    def join(self, challenge: str, *, team: str = "", answers: Sequence[str] = (), rules_version: int = 0) -> str:
        """Take part in a challenge. The answer is the membership's status: `accepted`, or `pending` until organizers decide.

        `answers`: one per question of the organizers. `rules_version`: the version of the rules that you accept.
        """
        request = {"answers": list(answers), "rules_version": rules_version} | ({"team": team} if team else {})
        return str(self._connection.post(f"challenges/{challenge}/join", request)["status"])

    def submit(
        self,
        image: str | Path = "",
        *,
        phase: str,
        name: str,
        code: str | Path | None = None,
        description: str = "",
        link: str = "",
        team: str = "",
        division: str = "",
        model: str | Path | None = None,
        model_folder: str = MODEL_FOLDER,
        command: str = "",
        registry_login: tuple[str, str] | None = None,
        allow_duplicate: bool = False,
        wait: bool = False,
    ) -> Submission:
        """Submit an archive (`docker save` or OCI), a zip of predictions, or a local Docker image by name. Or a zip of `code`.

        An interrupted upload goes on where it stopped when the same file is submitted again. With `wait` the answer comes when
        the submission has finished, whatever its status then is. `model` is a tar of weights that lies in `model_folder`, read-only.
        What your team has handed in before is not sent again: `sha256:…` in place of a file names it. `docker://REGISTRY/NAME:TAG` is
        fetched by the server, with `registry_login` (name, password) where it is not public.
        `command` is what the image's shell runs, where the phase takes one.
        """
        given = HandedIn(
            image=str(image or ""),
            code=str(code or ""),
            phase=phase,
            name=name,
            description=description,
            link=link,
            team=team,
            division=division,
            model=str(model or ""),
            model_folder=model_folder,
            command=command,
            registry_login=registry_login,
            allow_duplicate=allow_duplicate,
        )
        with choose_reporter(self._progress) as reporter:
            return hand_in(given, connection=self._connection, reporter=reporter, wait=wait)

    def submission(self, submission_id: str) -> Submission:
        """One submission as it stands now."""
        return Submission.from_json(self._connection.get(f"submissions/{submission_id}"))

    def submissions(self, *, phase: str = "", status: str = "", mine: bool = True) -> Iterator[Submission]:
        """Your submissions, newest first, or everybody's as far as you may see them. Asks page by page."""
        challenge, slug = split_phase(phase) if phase else (None, None)
        offset = 0
        while True:
            page = self._connection.get(
                "submissions",
                challenge=challenge,
                phase=slug,
                status=status or None,
                mine=str(mine).lower(),
                limit=PAGE,
                offset=offset,
            )
            yield from map(Submission.from_json, page["items"])
            offset += len(page["items"])
            if not page["items"] or offset >= page["count"]:
                return

    def wait(self, submission_id: str) -> Submission:
        """Wait until a submission has finished. A lost connection is waited out."""
        with choose_reporter(self._progress) as reporter:
            return wait_until_finished(connection=self._connection, submission_id=submission_id, reporter=reporter)

    def cancel(self, submission_id: str) -> Submission:
        """Cancel a submission. Its containers are stopped."""
        return Submission.from_json(self._connection.post(f"submissions/{submission_id}/cancel"))

    def cases(self, submission_id: str) -> list[Case]:
        """The cases of a submission, as far as the phase releases them."""
        return [Case.from_json(row) for row in self._connection.get(f"submissions/{submission_id}/cases")]

    def leaderboard(self, phase: str) -> Leaderboard:
        """The whole leaderboard of CHALLENGE/PHASE, best first."""
        path, entries, offset = f"{phase_path(phase)}/leaderboard", [], 0
        while True:
            page = self._connection.get(path, limit=PAGE, offset=offset)
            entries += page["entries"]
            offset += len(page["entries"])
            if not page["entries"] or offset >= page["count"]:
                return Leaderboard.from_json({**page, "entries": entries})

    def receipt(self, submission_id: str) -> Mapping[str, Any]:
        """The signed receipt, as `assay verify` reads it."""
        document: Mapping[str, Any] = self._connection.get(f"submissions/{submission_id}/receipt")
        return document

    def logs(self, submission_id: str) -> bytes:
        """What the containers wrote: organizers always, participants on public cases. Not fit for a terminal as it is."""
        return self._connection.get_bytes(f"submissions/{submission_id}/logs")

    def download_testset(self, challenge: str, name: str, version: int, *, to: Path) -> Path:
        """Write the tar of a public test set to the file `to`."""
        content = self._connection.get_bytes(f"challenges/{challenge}/testsets/{name}/{version}/archive")
        partial_file = to.with_name(to.name + ".partial")
        partial_file.write_bytes(content)
        partial_file.rename(to)
        return to


class AsyncClient:
    """`Client` for asyncio: the same methods, awaited. Each runs in a worker thread, so the event loop is never held up."""

    def __init__(self, url: str = "", token: str = "", **options: Any) -> None:
        self._client = Client(url, token, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._run(self._client.close)

    async def me(self) -> Person:
        """See `Client.me`."""
        return await self._run(self._client.me)

    async def challenges(self, search: str = "") -> list[Challenge]:
        """See `Client.challenges`."""
        return await self._run(self._client.challenges, search)

    async def challenge(self, slug: str) -> Challenge:
        """See `Client.challenge`."""
        return await self._run(self._client.challenge, slug)

    async def phase(self, phase: str) -> Phase:
        """See `Client.phase`."""
        return await self._run(self._client.phase, phase)

    async def join(self, challenge: str, *, team: str = "", answers: Sequence[str] = (), rules_version: int = 0) -> str:
        """See `Client.join`."""
        return await self._run(self._client.join, challenge, team=team, answers=answers, rules_version=rules_version)

    async def submit(
        self,
        image: str | Path = "",
        *,
        phase: str,
        name: str,
        code: str | Path | None = None,
        description: str = "",
        link: str = "",
        team: str = "",
        division: str = "",
        model: str | Path | None = None,
        model_folder: str = MODEL_FOLDER,
        command: str = "",
        registry_login: tuple[str, str] | None = None,
        allow_duplicate: bool = False,
        wait: bool = False,
    ) -> Submission:
        """See `Client.submit`."""
        return await self._run(
            self._client.submit,
            image,
            phase=phase,
            name=name,
            code=code,
            description=description,
            link=link,
            team=team,
            division=division,
            model=model,
            model_folder=model_folder,
            command=command,
            registry_login=registry_login,
            allow_duplicate=allow_duplicate,
            wait=wait,
        )

    async def submission(self, submission_id: str) -> Submission:
        """See `Client.submission`."""
        return await self._run(self._client.submission, submission_id)

    async def submissions(self, *, phase: str = "", status: str = "", mine: bool = True) -> list[Submission]:
        """See `Client.submissions`. All pages at once."""
        return await self._run(lambda: list(self._client.submissions(phase=phase, status=status, mine=mine)))

    async def wait(self, submission_id: str) -> Submission:
        """See `Client.wait`."""
        return await self._run(self._client.wait, submission_id)

    async def cancel(self, submission_id: str) -> Submission:
        """See `Client.cancel`."""
        return await self._run(self._client.cancel, submission_id)

    async def cases(self, submission_id: str) -> list[Case]:
        """See `Client.cases`."""
        return await self._run(self._client.cases, submission_id)

    async def leaderboard(self, phase: str) -> Leaderboard:
        """See `Client.leaderboard`."""
        return await self._run(self._client.leaderboard, phase)

    async def receipt(self, submission_id: str) -> Mapping[str, Any]:
        """See `Client.receipt`."""
        return await self._run(self._client.receipt, submission_id)

    async def logs(self, submission_id: str) -> bytes:
        """See `Client.logs`."""
        return await self._run(self._client.logs, submission_id)

    async def download_testset(self, challenge: str, name: str, version: int, *, to: Path) -> Path:
        """See `Client.download_testset`."""
        return await self._run(self._client.download_testset, challenge, name, version, to=to)

    @staticmethod
    async def _run(function: Callable[..., Answer], *arguments: Any, **options: Any) -> Answer:
        return await asyncio.to_thread(partial(function, *arguments, **options))
