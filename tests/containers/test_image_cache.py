"""The image cache on a scripted engine and a scripted disk."""

import dataclasses

import pytest

from containers.engines import ImageFacts
from containers.engines.fake import FakeEngine
from containers.errors import DiskFull, EngineRefused
from containers.machine.image_cache import ImageBusy, ImageCache, borrowed_image

GIB = 2**30
FOREIGN = "sha256:foreign"


class Disk:
    """Free space shrinks with what is cached."""

    def __init__(self, engine, sizes, total):
        self.engine, self.sizes, self.total = engine, sizes, total

    def free(self):
        return self.total - sum(self.sizes.get(image_id, 0) for image_id in self.engine.image_ids())


@pytest.fixture
def engine():
    return FakeEngine(images={FOREIGN: ImageFacts(image_id=FOREIGN)})


@pytest.fixture
def sizes():
    return {f"sha256:{name}": 2 * GIB for name in "abcdef"}


@pytest.fixture
def make_cache(tmp_path, engine, sizes):
    moments = iter(range(1000))

    def go(*, disk=100 * GIB, limit=50 * GIB, reserve=10 * GIB):
        return ImageCache(
            folder=tmp_path / "images",
            limit_bytes=limit,
            reserve_bytes=reserve,
            free_bytes=Disk(engine, sizes, disk).free,
            now=lambda: float(next(moments)),
        )

    return go


@pytest.fixture
def fetched():
    return []


@pytest.fixture
def hold(engine, sizes, fetched):
    def go(cache, name):
        image_id = f"sha256:{name}"

        def fetch(path):
            fetched.append(name)
            path.write_bytes(b"archive")

        return cache.holding(engine, image_id=image_id, archive_bytes=sizes[image_id], fetch=fetch)

    return go


def test_an_image_is_fetched_once_and_its_archive_is_not_kept(make_cache, hold, fetched, engine, tmp_path):
    cache = make_cache()
    for _ in range(3):
        with hold(cache, "a"):
            assert "sha256:a" in engine.image_ids()
    assert fetched == ["a"]
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["images.json"]


def test_the_least_recently_used_image_goes_first_and_foreign_ones_never(make_cache, hold, engine):
    cache = make_cache(limit=6 * GIB)  # three images
    for name in "abcad":
        with hold(cache, name):
            pass
    assert engine.image_ids() == {FOREIGN, "sha256:a", "sha256:c", "sha256:d"}
    assert cache.image_ids() == ["sha256:c", "sha256:a", "sha256:d"]


def test_an_image_in_use_is_not_evicted(make_cache, hold, engine):
    cache = make_cache(limit=4 * GIB)  # two images
    with (
        hold(cache, "a"),
        hold(cache, "b"),
        pytest.raises(DiskFull, match="nothing more can be evicted"),
        hold(cache, "c"),
    ):
        pass
    with hold(cache, "c"):
        pass
    assert engine.image_ids() == {FOREIGN, "sha256:a", "sha256:c"}, "b was given back before a"


def test_room_is_made_before_anything_is_fetched(make_cache, hold, fetched):
    cache = make_cache(disk=12 * GIB, reserve=10 * GIB)  # 2 GiB to spare, 4 needed
    with pytest.raises(DiskFull, match="4096 MiB are needed"), hold(cache, "a"):
        pass
    assert fetched == []


@pytest.mark.catalogue(
    64,
    attack="the disk of the engine is nearly full",
    verdict="the node claims nothing",
    guard="disk reserve before every claim",
)
def test_a_node_without_a_disk_reserve_claims_nothing(make_cache, hold):
    assert make_cache(disk=10 * GIB).accepts_work()
    assert not make_cache(disk=10 * GIB - 1).accepts_work()


def test_what_could_be_evicted_counts_as_free_and_what_is_in_use_does_not(make_cache, hold):
    cache = make_cache(disk=14 * GIB)
    with hold(cache, "a"):
        assert cache.accepts_work()
    tight = make_cache(disk=11 * GIB)  # 2 GiB of them hold the image: 9 are free, 10 are to be kept
    assert tight.accepts_work()
    with hold(tight, "a"):
        assert not tight.accepts_work()


def test_the_cache_outlives_the_node_process(make_cache, hold, fetched):
    with hold(make_cache(), "a"):
        pass
    with hold(make_cache(), "a"):
        pass
    assert fetched == ["a"]
    assert make_cache().image_ids() == ["sha256:a"]


def test_a_fetch_that_fails_leaves_nothing(make_cache, engine, tmp_path):
    cache = make_cache()

    def fetch(path):
        path.write_bytes(b"half an archive")
        raise ConnectionError("the line broke")

    with pytest.raises(ConnectionError), cache.holding(engine, image_id="sha256:a", archive_bytes=1, fetch=fetch):
        pass
    assert list((tmp_path / "images").iterdir()) == []
    assert cache.image_ids() == []


def test_an_image_the_engine_will_not_remove_stays_in_the_ledger(make_cache, hold, engine, monkeypatch):
    cache = make_cache(limit=2 * GIB)
    with hold(cache, "a"):
        pass

    def refuse(image_id):
        raise EngineRefused("image is being used by a stopped container")

    monkeypatch.setattr(engine, "remove_image", refuse)
    with pytest.raises(DiskFull), hold(cache, "b"):
        pass
    assert cache.image_ids() == ["sha256:a"]


def test_a_node_that_leaves_removes_what_it_loaded_and_nothing_else(make_cache, hold, engine):
    cache = make_cache()
    with hold(cache, "a"), hold(cache, "b"):
        pass
    with hold(cache, "b"):
        assert cache.forget(engine) == 1, "b is in use"
    assert engine.image_ids() == {FOREIGN, "sha256:b"}
    assert cache.forget(engine) == 1
    assert (engine.image_ids(), cache.image_ids()) == ({FOREIGN}, [])


def test_only_what_was_not_used_lately_can_be_forgotten(make_cache, hold, engine):
    cache = make_cache()
    for name in "ab":
        with hold(cache, name):
            pass
    last_use_of_a, last_use_of_b = (image.used_at for image in cache._ledger())
    assert last_use_of_a < last_use_of_b
    assert cache.forget(engine, unused_since=last_use_of_b) == 1
    assert cache.image_ids() == ["sha256:b"]


def test_a_borrowed_image_is_given_back_only_if_it_was_brought(engine):
    def load():
        engine.images["sha256:a"] = ImageFacts(image_id="sha256:a")

    with borrowed_image(engine, image_id=FOREIGN, load=lambda: pytest.fail("it was there")):
        pass
    with borrowed_image(engine, image_id="sha256:a", load=load):
        assert engine.image_ids() == {FOREIGN, "sha256:a"}
    assert engine.image_ids() == {FOREIGN}


def test_a_ledger_that_a_crash_left_unreadable_is_begun_anew(make_cache, hold, tmp_path):
    cache = make_cache()
    with hold(cache, "a"):
        pass
    (tmp_path / "images" / "images.json").write_text('[{"image_id": "sha256:a", "by')
    assert cache.accepts_work()
    with hold(cache, "b"):
        assert cache.image_ids() == ["sha256:b"]


def test_a_copy_that_does_not_start_is_fetched_afresh_and_a_fresh_one_is_not(make_cache, hold, fetched):
    cache = make_cache()
    with hold(cache, "a") as damaged:
        pass
    assert cache.distrust(image_id="sha256:a", copy=damaged)
    with hold(cache, "a") as fresh:
        pass
    assert cache.distrust(image_id="sha256:a", copy=damaged), "another slot met the damaged copy, too"
    assert not cache.distrust(image_id="sha256:a", copy=fresh)
    assert fetched == ["a", "a"]


def test_a_damaged_copy_is_not_replaced_while_something_runs_on_it_and_not_used_either(make_cache, hold, fetched):
    cache = make_cache()
    with hold(cache, "a") as running:
        assert cache.distrust(image_id="sha256:a", copy=running)
        with pytest.raises(ImageBusy), hold(cache, "a"):
            pytest.fail("it was used")
    with hold(cache, "a") as fresh:
        assert fresh == running + 1
    assert fetched == ["a", "a"]


def test_an_image_that_has_started_since_may_be_damaged_again(make_cache, hold, fetched):
    cache = make_cache()
    for _ in range(3):
        with hold(cache, "a") as copy:
            cache.trust(image_id="sha256:a")
        assert cache.distrust(image_id="sha256:a", copy=copy)
    assert fetched == ["a", "a", "a"]


@pytest.fixture
def layered(engine, monkeypatch):
    """a and b stand on one base, c on another. So does an image that is not ours."""
    layers = {"a": {"base", "a"}, "b": {"base", "b"}, "c": {"other", "c"}, "foreign": {"base", "f"}}
    facts = engine.image_facts

    def with_layers(image_id):
        found = facts(image_id)
        return dataclasses.replace(found, layers=frozenset(layers[image_id.removeprefix("sha256:")]))

    monkeypatch.setattr(engine, "image_facts", with_layers)
    return engine


def test_cached_images_that_share_a_layer_with_a_damaged_one_are_loaded_afresh_too(make_cache, hold, fetched, layered):
    cache = make_cache()
    for name in "bca":
        with hold(cache, name) as copy:
            pass
    assert cache.distrust(image_id="sha256:a", copy=copy)
    with hold(cache, "a"):
        assert layered.image_ids() == {FOREIGN, "sha256:a", "sha256:c"}, "b went with it; c and what is not ours stay"
    with hold(cache, "b"):
        pass
    assert "".join(fetched) == "bcaab"
    assert set(cache.image_ids()) == {"sha256:a", "sha256:b", "sha256:c"}


def test_a_shared_layer_is_not_replaced_while_another_image_runs_on_it(make_cache, hold, fetched, layered):
    cache = make_cache()
    with hold(cache, "a") as copy:
        pass
    assert cache.distrust(image_id="sha256:a", copy=copy)
    with hold(cache, "b"), pytest.raises(ImageBusy), hold(cache, "a"):
        pytest.fail("it was used")
    with hold(cache, "a") as fresh:
        assert fresh == copy + 1
