"""Kubernetes' REST API as far as an engine needs it: Pods of one namespace, their logs, and watching them.

Every answer becomes a document or one of this room's errors. A server that gives no answer, or says that it cannot now, is
`EngineUnreachable`. A server that says no is `EngineRefused`, with its own words.
"""

import contextlib
import json
import ssl
from collections.abc import Generator, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from containers.errors import EngineRefused, EngineUnreachable, NameTaken

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CALL_SECONDS = 30.0
WATCH_SECONDS = 240
"""How long one watch is asked to last. The server ends it, and the next one goes on where it ended."""
MERGE_PATCH = "application/merge-patch+json"
NOT_NOW = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    HTTPStatus.UNAUTHORIZED,
)
"""The server, or our token, will be right again by itself: a token is replaced while we run."""

Document = dict[str, Any]


class Gone(Exception):
    """The server has forgotten what we have seen last (410): everything has to be listed again."""


class ClusterApi:
    """One namespace of a cluster. Safe in several threads. `token_file` is read for every call, because clusters replace tokens."""

    def __init__(
        self, *, url: str, namespace: str, token_file: Path | None = None, ca_file: Path | None = None
    ) -> None:
        self.namespace = namespace
        self.key = (url, namespace)
        self._token_file = token_file
        verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        self._client = httpx.Client(base_url=url, timeout=CALL_SECONDS, verify=verify, trust_env=False)

    def close(self) -> None:
        """End the connections. A watch that is under way ends with an error."""
        self._client.close()

    def version(self) -> Document:
        """What `kubectl version` shows of the server."""
        return self._json("GET", "/version")

    def may(self, *, verb: str, resource: str, group: str = "") -> bool:
        """Whether our account may do this in the namespace."""
        attributes = {"namespace": self.namespace, "verb": verb, "resource": resource, "group": group}
        resource, _, subresource = resource.partition("/")
        attributes |= {"resource": resource, **({"subresource": subresource} if subresource else {})}
        asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        answer = self._json(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body={**asked, "spec": {"resourceAttributes": attributes}},
        )
        return bool(answer.get("status", {}).get("allowed"))

    def create_pod(self, pod: Mapping[str, Any]) -> Document:
        """Create. A field that this cluster does not know is refused, never dropped. Raises NameTaken."""
        return self._json("POST", self._pods(), body=pod, fieldValidation="Strict")

    def pod(self, name: str) -> Document | None:
        """One Pod as it is now. None when there is none."""
        return self._maybe("GET", self._pods(name))

    def pods(self, selector: str) -> tuple[list[Document], str]:
        """All Pods with these labels, and the version of that list, where a watch goes on."""
        answer = self._json("GET", self._pods(), labelSelector=selector)
        return list(answer.get("items") or ()), str(answer["metadata"]["resourceVersion"])

    def patch_pod(self, name: str, change: Mapping[str, Any]) -> Document | None:
        """Change some fields (merge patch). None when there is no such Pod."""
        return self._maybe("PATCH", self._pods(name), body=change, kind=MERGE_PATCH, fieldValidation="Strict")

    def delete_pod(self, name: str, *, uid: str, grace_seconds: int) -> None:
        """Delete this very Pod, not a later one of its name. A missing one is no error. 0 does not wait for the machine it runs on."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": grace_seconds,
            "preconditions": {"uid": uid},
        }
        with contextlib.suppress(NameTaken):  # 409: another Pod has this name by now
            self._maybe("DELETE", self._pods(name), body=body)

    def network_policies(self) -> list[Document]:
        """Those of the namespace."""
        path = f"/apis/networking.k8s.io/v1/namespaces/{self.namespace}/networkpolicies"
        return list(self._json("GET", path).get("items") or ())

    def metrics(self, name: str) -> Document | None:
        """What the metrics server last measured of a Pod. None where there is none, or nothing yet."""
        with contextlib.suppress(EngineRefused):
            return self._maybe("GET", f"/apis/metrics.k8s.io/v1beta1/namespaces/{self.namespace}/pods/{name}")
        return None

    def log(self, name: str, *, container: str) -> Iterator[bytes]:
        """What a container has written, in pieces. Nothing where there is no such Pod, or the container never started."""
        parameters = {"container": container}
        with (
            self._answers(),
            self._client.stream("GET", self._pods(name, "log"), params=parameters, headers=self._headers()) as answer,
        ):
            if answer.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
                return
            if not answer.is_success:
                answer.read()
                self._refuse(answer)
            yield from answer.iter_bytes()

    def watch(self, selector: str, *, version: str) -> Generator[tuple[str, Document], None, None]:
        """Each change since `version`: what happened, and the Pod. Ends when the server ends it. Raises Gone, EngineUnreachable."""
        parameters = {
            "labelSelector": selector,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = httpx.Timeout(CALL_SECONDS, read=WATCH_SECONDS + CALL_SECONDS)
        with (
            self._answers(),
            self._client.stream(
                "GET", self._pods(), params=parameters, headers=self._headers(), timeout=timeout
            ) as answer,
        ):
            if not answer.is_success:
                answer.read()
                self._refuse(answer)
            for line in answer.iter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise_status(event["object"])
                yield str(event["type"]), dict(event["object"])

    def _pods(self, name: str = "", part: str = "") -> str:
        return "/".join(word for word in (f"/api/v1/namespaces/{self.namespace}/pods", name, part) if word)

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text(encoding='ascii').strip()}"}
        except OSError as error:
            raise EngineUnreachable(f"The cluster's token cannot be read: {error}") from error

    def _maybe(self, method: str, path: str, **options: Any) -> Document | None:
        answer = self._call(method, path, **options)
        return None if answer.status_code == HTTPStatus.NOT_FOUND else self._document(answer)

    def _json(self, method: str, path: str, **options: Any) -> Document:
        return self._document(self._call(method, path, **options))

    def _document(self, answer: httpx.Response) -> Document:
        if not answer.is_success:
            self._refuse(answer)
        return dict(answer.json())

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
        **parameters: str,
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        headers = {**self._headers(), **({} if body is None else {"Content-Type": kind})}
        with self._answers():
            return self._client.request(method, path, params=parameters, content=content, headers=headers)

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except (
            httpx.HTTPError,
            httpx.StreamError,
            RuntimeError,
            ValueError,
        ) as error:  # RuntimeError: closed meanwhile
            raise EngineUnreachable(f"The cluster gave no answer: {error}") from error

    def _refuse(self, answer: httpx.Response) -> None:
        try:
            status = dict(answer.json())
        except ValueError:
            status = {"message": answer.text}
        raise_status({**status, "code": answer.status_code})


def raise_status(status: Mapping[str, Any]) -> None:
    """The server's `Status` document as one of our errors."""
    code, message = int(status.get("code") or 0), str(status.get("message") or "no message")[:600]
    if code == HTTPStatus.GONE:
        raise Gone(message)
    if code in NOT_NOW:
        raise EngineUnreachable(f"The cluster cannot answer now ({code}): {message}")
    if code == HTTPStatus.CONFLICT:
        raise NameTaken(message)
    raise EngineRefused(f"The cluster refused ({code}): {message}")
