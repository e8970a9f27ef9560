"""What would go wrong later is said early, with what to do about it."""

import json
import logging
import sys
import uuid

from assay.config import checks
from assay.config.secrets import secret_key
from assay.node.logs import EventFormatter, JsonFormatter


def test_the_settings_as_they_are_pass():
    assert checks.check_lease(None) == []
    assert checks.check_public_url(None) == []


def test_a_lease_one_late_heartbeat_could_lose_is_an_error(settings):
    settings.LEASE_SECONDS, settings.HEARTBEAT_SECONDS = 10, 5
    (found,) = checks.check_lease(None)
    assert (found.id, "10" in found.msg, bool(found.hint)) == ("assay.E002", True, True)


def test_a_public_address_without_encryption_is_a_warning(settings):
    settings.PUBLIC_URL = "http://assay.example.org"
    assert [found.id for found in checks.check_public_url(None)] == ["assay.W003"]


def test_an_event_is_logged_with_its_keys():
    record = logging.makeLogRecord(
        {"name": "assay", "msg": "submission.queued", "submission": "17", "levelname": "INFO"}
    )
    assert EventFormatter("%(message)s").format(record) == "submission.queued submission=17"


def test_a_value_with_blanks_is_quoted_so_that_a_line_can_be_cut_into_its_keys():
    record = logging.makeLogRecord({"msg": "node.drained", "keys": {"name": "gpu-1", "reason": 'new "disk"', "by": ""}})
    line = EventFormatter("%(message)s").format(record)
    assert line == 'node.drained name=gpu-1 reason="new \\"disk\\"" by=""'


def test_a_line_of_json_has_the_same_keys_and_a_traceback_in_one_line():
    try:
        {}["out of order"]
    except KeyError:
        record = logging.makeLogRecord({"msg": "evaluation.fault", "levelname": "ERROR", "exc_info": sys.exc_info()})
    record.evaluation = uuid.UUID(int=7)
    line = JsonFormatter().format(record)
    document = json.loads(line)
    assert "\n" not in line
    assert (document["event"], document["level"]) == ("evaluation.fault", "ERROR")
    assert document["evaluation"] == "00000000-0000-0000-0000-000000000007"
    assert "KeyError: 'out of order'" in document["traceback"]


def test_the_secret_key_is_made_once_and_for_nobody_elses_eyes(tmp_path):
    first = secret_key(folder=tmp_path / "keys")
    assert secret_key(folder=tmp_path / "keys") == first
    assert len(first) > 50
    assert (tmp_path / "keys/django").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["django"]
