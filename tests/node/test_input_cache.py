"""Inputs that a node keeps: fetched once, checked each time, continued where the line broke, removed in order of their last use."""

import hashlib
import os
import threading

import pytest

from assay.node.input_cache import InputCache
from assay.node.orders import FileOrder

SIZE = 1000


class Line:
    """A line that gives the bytes of a file, and breaks after `breaks_after` of them."""

    def __init__(self):
        self.sent = []
        self.breaks_after = None

    def fetch(self, content):
        def go(path):
            have = path.read_bytes() if path.exists() else b""
            rest = content[len(have) :]
            if self.breaks_after is not None:
                path.write_bytes(have + rest[: self.breaks_after])
                self.sent.append(self.breaks_after)
                self.breaks_after = None
                raise ConnectionError("the line broke")
            path.write_bytes(have + rest)
            self.sent.append(len(rest))

        return go


@pytest.fixture
def line():
    return Line()


@pytest.fixture
def cache(tmp_path):
    return InputCache(folder=tmp_path / "inputs", limit_bytes=3 * SIZE)


@pytest.fixture
def take(cache, line, tmp_path):
    """Take a file that is called by one letter. Gives what is at its destination."""
    moments = iter(range(1_000_000, 2_000_000))

    def go(letter):
        content = letter.encode() * SIZE
        order = FileOrder(path="x", sha256=hashlib.sha256(content).hexdigest(), bytes=SIZE, url="https://x")
        destination = tmp_path / f"case-{next(moments)}"
        cache.take(order, destination=destination, fetch=line.fetch(content))
        os.utime(tmp_path / "inputs" / order.sha256, (next(moments),) * 2)
        return destination

    return go


def kept(tmp_path) -> list[str]:
    """The first letters of what is kept, and of the parts."""
    return sorted(chr(path.read_bytes()[0]) + path.suffix for path in (tmp_path / "inputs").iterdir())


def test_a_file_is_fetched_once_however_often_it_is_taken(take, line, tmp_path):
    first, second = take("a"), take("a")
    assert first.read_bytes() == second.read_bytes() == b"a" * SIZE
    assert line.sent == [SIZE]
    assert first.stat().st_mode & 0o777 == 0o444


def test_an_attempt_goes_on_where_the_line_broke(take, line, tmp_path):
    line.breaks_after = 700
    with pytest.raises(ConnectionError):
        take("a")
    assert kept(tmp_path) == ["a.part"]
    assert take("a").read_bytes() == b"a" * SIZE
    assert line.sent == [700, 300]
    assert kept(tmp_path) == ["a"]


def test_the_one_used_longest_ago_goes_first_and_a_run_keeps_its_own_link(take, line, tmp_path):
    running = take("a")
    for letter in "bcad":
        take(letter)
    assert kept(tmp_path) == ["a", "c", "d"]
    for letter in "efg":
        take(letter)
    assert running.read_bytes() == b"a" * SIZE, "it was removed from the cache, and not from the run"


def test_a_file_that_was_damaged_where_it_lies_is_fetched_again(take, line, tmp_path):
    take("a")
    (path,) = (tmp_path / "inputs").iterdir()
    path.chmod(0o600)
    path.write_bytes(b"z" * SIZE)
    assert take("a").read_bytes() == b"a" * SIZE
    assert line.sent == [SIZE, SIZE]


def test_without_a_size_nothing_is_kept(line, tmp_path):
    cache = InputCache(folder=tmp_path / "inputs", limit_bytes=0)
    order = FileOrder(path="x", sha256=hashlib.sha256(b"abc").hexdigest(), bytes=3, url="https://x")
    for name in "12":
        cache.take(order, destination=tmp_path / name, fetch=line.fetch(b"abc"))
    assert line.sent == [3, 3]
    assert not (tmp_path / "inputs").exists()


def test_slots_that_want_one_file_at_once_fetch_it_once(cache, tmp_path):
    content = b"a" * SIZE
    order = FileOrder(path="x", sha256=hashlib.sha256(content).hexdigest(), bytes=SIZE, url="https://x")
    began, may_go_on, fetched = threading.Event(), threading.Event(), []

    def slowly(path):
        fetched.append(path)
        began.set()
        may_go_on.wait(60)
        path.write_bytes(content)

    def slot(number):
        cache.take(order, destination=tmp_path / str(number), fetch=slowly)

    slots = [threading.Thread(target=slot, args=(number,)) for number in range(4)]
    slots[0].start()
    assert began.wait(60)
    for other in slots[1:]:
        other.start()
    may_go_on.set()
    for each in slots:
        each.join(60)
    assert len(fetched) == 1
    assert [(tmp_path / str(number)).read_bytes() for number in range(4)] == [content] * 4


def test_a_machine_that_leaves_keeps_nothing(take, cache, tmp_path):
    take("a")
    take("b")
    assert cache.forget() == 2
    assert kept(tmp_path) == []
