"""HTTP without a network: our clients talk to our views."""

import httpx
from django.test import Client


def send_through(client: Client) -> httpx.MockTransport:
    """httpx into Django's test client: the same thread, the same connection, the real views."""

    def handle(request: httpx.Request) -> httpx.Response:
        headers = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in request.headers.items()}
        answer = client.generic(
            request.method,
            request.url.raw_path.decode(),
            data=request.read(),
            content_type=request.headers.get("content-type", "application/octet-stream"),
            **headers,
        )
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        return httpx.Response(answer.status_code, content=content, headers=dict(answer.headers))

    return httpx.MockTransport(handle)
