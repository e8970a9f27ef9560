"""The node's client: downloads that break off, files that arrive changed, answers that do not come."""

import hashlib
import time
from email.utils import formatdate

import httpx
import pytest

from assay.node.http import NodeApi, NodeApiProblem, server_clock_ahead_seconds
from assay.node.orders import FileOrder, OrderInvalid, safe_relative

CONTENT = bytes(range(256)) * 100


def order(sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> FileOrder:
    return FileOrder(path="a.nii.gz", sha256=sha256, bytes=len(CONTENT), url="/files/1")


def api(handle) -> NodeApi:
    return NodeApi(url="http://server", token="t", transport=httpx.MockTransport(handle), sleep=lambda _: None)


def test_a_broken_download_goes_on_where_it_stopped(tmp_path):
    asked = []

    def handle(request):
        asked.append(request.headers.get("range", ""))
        start = int(asked[-1][6:-1]) if asked[-1] else 0
        return httpx.Response(206 if start else 200, content=CONTENT[start:])

    target = tmp_path / "a"
    target.write_bytes(CONTENT[:1000])
    api(handle).fetch(order(), destination=target)
    assert asked == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_that_stumbles_is_asked_again(tmp_path):
    answers = [httpx.Response(503), httpx.Response(200, content=CONTENT)]
    api(lambda _: answers.pop(0)).fetch(order(), destination=tmp_path / "a")
    assert not answers


def test_a_file_that_arrives_changed_is_refused_and_deleted(tmp_path):
    with pytest.raises(NodeApiProblem, match="arrived with sha256"):
        api(lambda _: httpx.Response(200, content=CONTENT)).fetch(order("0" * 64), destination=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_file_we_may_not_have_is_not_asked_for_again(tmp_path):
    asked = []

    def refuse(request):
        asked.append(request)
        return httpx.Response(404)

    with pytest.raises(NodeApiProblem):
        api(refuse).fetch(order(), destination=tmp_path / "a")
    assert len(asked) == 1


def test_an_answer_that_never_comes_is_a_problem_with_a_name():
    def hang_up(request):
        raise httpx.ConnectError("refused")

    with pytest.raises(NodeApiProblem, match="did not get through"):
        api(hang_up).claim(slots=1, cached_images=[])


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../../b", ""])
def test_a_path_that_leaves_its_folder_is_refused(path):
    with pytest.raises(OrderInvalid):
        safe_relative(path)


@pytest.mark.parametrize(("offset_seconds", "expected"), [(0, 0.0), (90, 90.0), (-3600, -3600.0)])
def test_the_servers_clock_is_read_off_its_answer_to_about_a_second(offset_seconds, expected):
    def handle(request):
        return httpx.Response(404, headers={"Date": formatdate(time.time() + offset_seconds, usegmt=True)})

    ahead = server_clock_ahead_seconds("http://server", transport=httpx.MockTransport(handle))
    assert ahead == pytest.approx(expected, abs=1.1)


def test_a_server_that_does_not_say_the_time_or_does_not_answer_is_not_compared_with():
    def unreachable(request):
        raise httpx.ConnectError("refused")

    for handle in (lambda request: httpx.Response(200), unreachable):
        assert server_clock_ahead_seconds("http://server", transport=httpx.MockTransport(handle)) is None
