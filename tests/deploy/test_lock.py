"""The lock names everything that is needed, for Python 3.11 to 3.14, and what is kept about it agrees with what is installed here.

What it can see: every `Requires-Dist` of every locked release, extras and markers included, on three systems. Records of the
releases installed here are compared with their own metadata. Those of the other releases are as `make lock` read them.
"""

import json
import tomllib
from importlib.metadata import PackageNotFoundError, distribution

import pytest

from tests.deploy.deploy_programs import load

lock = load("lock")
LOCKED = lock.read_lock(lock.LOCK.read_text())
METADATA = json.loads(lock.METADATA.read_text())
WANTED = lock.own_requirements(tomllib.loads(lock.PYPROJECT.read_text()))
ENVIRONMENTS = dict(lock.environments())


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_requirement_of_every_locked_release_is_in_the_lock(name):
    assert lock.missing(wanted=WANTED, lock=LOCKED, metadata=METADATA, environment=ENVIRONMENTS[name]) == []


def test_what_is_required_is_known_for_exactly_the_releases_of_the_lock():
    assert sorted(METADATA) == sorted(release.key for release in LOCKED)
    assert all(release.hashes for release in LOCKED)


def test_the_records_agree_with_what_is_installed_here():
    """At least what this Python installs. A lock changed by hand is seen too."""
    compared = 0
    for release in LOCKED:
        try:
            here = distribution(release.name)
        except PackageNotFoundError:
            continue
        if here.version == release.version:
            compared += 1
            assert sorted(map(spelling, here.requires or [])) == sorted(map(spelling, METADATA[release.key])), (
                release.key
            )
    assert compared > 100


def spelling(line: str) -> str:
    return str(lock.Requirement(line))


@pytest.mark.parametrize(
    ("left_out", "asker"),
    [("numpy", "scipy"), ("psycopg-pool", "psycopg"), ("boto3", "django-storages"), ("importlib-resources", "nibabel")],
)
def test_a_release_left_out_is_missed(left_out, asker):
    """Plain, through an extra of a requirement, and one that is needed on Python 3.11 only."""
    rest = [release for release in LOCKED if release.name != left_out]
    environment = ENVIRONMENTS["Python 3.11.0 on linux"]
    faults = lock.missing(wanted=WANTED, lock=rest, metadata=METADATA, environment=environment)
    assert any(line.startswith(f"{asker}==") and "the lock has none" in line for line in faults), faults


def test_a_release_too_old_and_a_name_locked_twice_are_found():
    text = "a==1.0 \\\n    --hash=sha256:00\nb==1.0 ; python_full_version < '3.12' \\\n    --hash=sha256:01\nb==2.0 \\\n    --hash=sha256:02\n"
    metadata = {"a==1.0": ['b>=2 ; extra == "more"'], "b==1.0": [], "b==2.0": []}
    found = {
        name: lock.missing(
            wanted=["a[more]>=1"], lock=lock.read_lock(text), metadata=metadata, environment=ENVIRONMENTS[name]
        )
        for name in ("Python 3.11.9 on linux", "Python 3.13.0 on linux")
    }
    assert found["Python 3.13.0 on linux"] == []
    assert found["Python 3.11.9 on linux"] == ["b is locked twice: 1.0 and 2.0"]
    only_old = lock.read_lock(text.replace("b==2.0", "c==2.0"))
    (fault,) = lock.missing(
        wanted=["a[more]"], lock=only_old, metadata=metadata, environment=ENVIRONMENTS["Python 3.11.0 on linux"]
    )
    assert fault == 'a==1.0 requires b>=2 ; extra == "more": the lock has 1.0'
