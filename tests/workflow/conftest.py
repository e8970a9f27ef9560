"""The stage of whole stories: see `stage.py`."""

from datetime import timedelta

import pytest
from django.utils import timezone

from assay.runs.nodes import enrol_node
from stage import Stage, put_files


@pytest.fixture
def stage(scene, tmp_path, settings) -> Stage:
    """Olga's phase with two real cases and a node of the default pool.

    Heartbeats come from threads, which do not see this test's transaction: on a slow machine one would find no lease.
    """
    settings.HEARTBEAT_SECONDS, settings.LEASE_SECONDS = 3600, 7200
    now = timezone.now()
    scene.phase.opens_at, scene.phase.closes_at = now - timedelta(days=1), now + timedelta(days=1)
    scene.phase.save()
    for case in scene.phase.chosen_testset.testset.cases.all():
        put_files(case=case, folder=tmp_path)
    node, token = enrol_node(name="node-1", pool="default", slots=1, by=scene.stan, now=now)
    return Stage(scene=scene, folder=tmp_path, node=node, token=token)
