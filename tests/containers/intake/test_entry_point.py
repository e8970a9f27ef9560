"""Programs that cannot be started, seen in the layers before an attempt is spent. What can be started is never called broken."""

import json
import tarfile

import pytest

from containers.intake.entry_point import MOST_NOTED, Programs
from containers.sandbox.runner import problem_told_by_init
from containers.verdicts import Reason, Verdict
from image_archives import config_of, docker_save, entry, folder, hard_link, sha256, symlink, tar_of

ELF = b"\x7fELF\x02\x01\x01"
SHELL = (
    symlink("bin", "usr/bin"),
    folder("usr"),
    folder("usr/bin"),
    entry("usr/bin/dash", ELF),
    symlink("usr/bin/sh", "dash"),
)
PYTHON = (entry("usr/bin/python3.11", ELF), symlink("usr/bin/python3", "python3.11"), entry("usr/bin/env", ELF))
SCRIPT = b"#!/bin/sh\necho hello\n"


@pytest.fixture
def report(tmp_path, judge):
    """The intake's report of layers, bottom to top, that start these words."""

    def go(*layers, words, command=None, **settings):
        bodies = [tar_of(*layer) for layer in layers]
        config = config_of(*bodies, settings={"Entrypoint": words, "Cmd": command, **settings})
        return judge(docker_save(tmp_path / "image.tar", *bodies, config=config))

    return go


RUNNABLE = {
    "a script and its shell behind two links": ([[*SHELL, entry("app/run.sh", SCRIPT)]], ["/app/run.sh"], {}),
    "a program without an interpreter": ([[entry("copy", ELF)]], ["/copy"], {}),
    "a name along PATH, behind a link": ([[*SHELL, *PYTHON]], ["python3", "-m", "nothing"], {}),
    "a path below WORKDIR": ([[*SHELL, entry("opt/run.sh", SCRIPT)]], ["./run.sh"], {"WorkingDir": "/opt"}),
    "a script that env starts": ([[*SHELL, *PYTHON, entry("run", b"#!/usr/bin/env python3\n")]], ["/run"], {}),
    "env with options is not judged": ([[*SHELL, *PYTHON, entry("run", b"#!/usr/bin/env -S nothing -u\n")]], ["/run"], {}),
    "arguments of the interpreter": ([[*SHELL, entry("run", b"#! /bin/sh -e\n")]], ["/run"], {}),
    "a text without a first line of its kind, which a shell reads": ([[*SHELL, entry("run", b"echo\n")]], ["/run"], {}),
    "a hard link": ([[*SHELL, entry("a", SCRIPT), hard_link("run", "a")]], ["/run"], {}),
    "a link out and back": ([[*SHELL, entry("x/run", SCRIPT), symlink("y", "x/../x")]], ["/y/run"], {}),
    "closed by one layer and opened by the next": ([[*SHELL, entry("run", SCRIPT, mode=0o644)], [entry("run", SCRIPT)]], ["/run"], {}),
    "removed and put back": ([[*SHELL, entry("a/run", SCRIPT)], [entry(".wh.a")], [entry("a/run", SCRIPT)]], ["/a/run"], {}),
    "a folder in place of a link": ([[*SHELL, symlink("a", "nowhere")], [folder("a"), entry("a/run", SCRIPT)]], ["/a/run"], {}),
    "for its owner and group only": ([[*SHELL, entry("run", SCRIPT, mode=0o750)]], ["/run"], {}),
    "the command where there is no entry point": ([[*SHELL, entry("run", SCRIPT)]], None, {"command": ["/run"]}),
    "an empty folder of PATH is where it works": ([[*SHELL, entry("w/run", SCRIPT)]], ["run"], {"WorkingDir": "/w", "Env": ["PATH=/usr/bin:"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNNABLE)
def test_what_can_be_started_is_never_called_broken(report, name):
    layers, words, more = RUNNABLE[name]
    assert report(*layers, words=words, **more).entry_point_problem == ""


BROKEN = {
    "absent": ([[*SHELL]], ["/app/run.sh"], {}, "/app/run.sh is not in the image"),
    "absent from PATH": ([[*SHELL]], ["python"], {}, "python is in no folder of PATH (/usr/bin:/bin)"),
    "absent below WORKDIR": ([[*SHELL, entry("run.sh", SCRIPT)]], ["./run.sh"], {"WorkingDir": "/opt"}, "./run.sh is not in"),
    "not along PATH although it is there": ([[*SHELL, entry("run.sh", SCRIPT)]], ["run.sh"], {}, "run.sh is in no folder of PATH"),
    "removed by a later layer": ([[*SHELL, entry("a/run", SCRIPT)], [entry("a/.wh.run")]], ["/a/run"], {}, "/a/run is not in"),
    "its folder removed": ([[*SHELL, entry("a/b/run", SCRIPT)], [entry(".wh.a")]], ["/a/b/run"], {}, "/a/b/run is not in"),
    "its folder emptied": ([[*SHELL, entry("a/run", SCRIPT)], [entry("a/.wh..wh..opq")]], ["/a/run"], {}, "/a/run is not in"),
    "a folder": ([[*SHELL, folder("run")]], ["/run"], {}, "/run is not in the image, or is no file"),
    "a link to nowhere": ([[*SHELL, symlink("run", "gone")]], ["/run"], {}, "/run is not in the image"),
    "not executable": ([[*SHELL, entry("start", SCRIPT, mode=0o644)]], ["/start"], {}, "chmod 755 /start"),
    "closed by a later layer": ([[*SHELL, entry("run", SCRIPT)], [entry("run", SCRIPT, mode=0o644)]], ["/run"], {}, "not executable"),
    "line ends of Windows": ([[*SHELL, entry("start", b"#!/bin/sh\r\necho\r\n")]], ["/start"], {}, "line ends of Windows (CR LF)"),
    "an interpreter that is absent": ([[*SHELL, entry("run", b"#!/bin/bash\n")]], ["/run"], {}, "/run asks for /bin/bash in its first"),
    "an interpreter that env does not find": (
        [[*SHELL, *PYTHON, entry("run", b"#!/usr/bin/env python\n")]], ["/run"], {}, "asks for python in its first line, and python is in no",
    ),
    "an interpreter that is not executable": (
        [[*SHELL, entry("py", ELF, mode=0o644), entry("run", b"#!/py\n")], [entry("py", ELF, mode=0o644)]], ["/run"], {}, "/py is not",
    ),
    "where a run has an empty folder": ([[*SHELL, entry("tmp/run", SCRIPT)]], ["/tmp/run"], {}, "lies in /tmp, which a run covers"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_nobody_could_start_is_named_with_what_to_do(report, name):
    layers, words, more, expected = BROKEN[name]
    assert expected in report(*layers, words=words, **more).entry_point_problem


def test_where_the_layers_do_not_tell_nothing_is_said(report):
    loop = [*SHELL, symlink("a", "b"), symlink("b", "a")]
    assert report(loop, words=["/a/run"]).entry_point_problem == ""
    crowded = Programs(folders={b"%d" % number for number in range(MOST_NOTED)})
    crowded.note(entry=None, name=b"run", head=b"")  # never looked at
    assert not crowded.is_whole


@pytest.mark.parametrize(
    ("mode", "uid", "profile", "is_told"),
    [
        (0o755, 0, "default", False),
        (0o750, 0, "default", True),
        (0o700, 1234, "default", True),
        (0o700, 1234, "image-user", False),
        (0o750, 0, "image-user", True),
    ],
)
def test_a_program_that_its_run_may_not_execute_is_a_warning_by_profile(report, mode, uid, profile, is_told):
    passwd = entry("etc/passwd", b"me:x:1234:1234::/home/me:/bin/sh\n", mode=0o644)
    found = report([*SHELL, passwd, entry("run", SCRIPT, mode=mode, uid=uid)], words=["/run"], User="me")
    warnings = found.warnings_as_image_user if profile == "image-user" else found.warnings_as_user
    assert any("may not execute it" in warning for warning in warnings) == is_told


@pytest.mark.parametrize(
    ("script", "words", "told"),
    [
        (b"echo\n", ["sh", "run.sh"], ""),
        (b"echo\n", ["sh", "-c", "anything at all"], ""),
        (b"echo\r\n", ["sh", "run.sh"], "line ends of Windows"),
        (b"print()\r\n", ["python3", "run.sh"], ""),
        (b"echo\n", ["python3", "/opt/other.py"], "the image has no such file"),
        (b"echo\n", ["dash", "other.sh"], "the image has no such file"),
    ],
)
def test_a_script_that_is_handed_to_its_reader_is_looked_at(report, script, words, told):
    found = report([*SHELL, *PYTHON, entry("app/run.sh", script, mode=0o644)], words=words, WorkingDir="/app")
    assert found.entry_point_problem == ""
    assert told in " ".join(found.warnings_as_user) if told else found.warnings_as_user == ()


def test_that_user_has_no_effect_is_a_note(report):
    passwd = entry("etc/passwd", b"me:x:1234:1234::/home/me:/bin/sh\n", mode=0o644)
    found = report([*SHELL, passwd, entry("run", SCRIPT)], words=["/run"], User="me")
    assert "USER me (uid 1234) has no effect: a run has uid 65532" in found.warnings_as_user[0]
    assert found.warnings_as_image_user == ()
    assert report([*SHELL, entry("run", SCRIPT)], words=["/run"], User="65532").warnings_as_user == ()


@pytest.mark.parametrize("place", ["root/weights.bin", "opt/weights/model.pth"])
def test_weights_that_only_root_may_read_are_named(report, place):
    closed = [folder(place.rpartition("/")[0]), entry(place, b"w", mode=0o600)]
    found = report([*SHELL, entry("run", SCRIPT), *closed], words=["/run"])
    assert f"1 files (such as /{place}) can be read by root only" in found.warnings_as_user[0]


def test_a_whiteout_is_no_file_that_somebody_cannot_read(report):
    found = report([*SHELL, entry("run", SCRIPT)], [entry("opt/.wh.old", mode=0)], words=["/run"])
    assert found.warnings_as_user == ()


@pytest.mark.parametrize(
    ("exit_code", "log", "is_told"),
    [
        (127, b"[FATAL tini (7)] exec /app/run.sh failed: No such file or directory\n", True),
        (126, b"[FATAL tini (7)] exec ./run failed: Permission denied\n", True),
        (1, b"ERROR (catatonit:2): failed to exec pid1: No such file or directory\n", True),
        (127, b"sh: 1: python: not found\n", False),
        (127, b"", False),
        (0, b"[FATAL tini (7)] exec /app/run.sh failed: No such file or directory\n", False),
        (127, b"loading\n[FATAL tini (7)] exec /app/run.sh failed: No such file or directory\n", False),
        (None, b"[FATAL tini (7)] exec /app/run.sh failed: No such file or directory\n", False),
    ],
)
def test_the_init_tells_that_the_program_was_never_started(exit_code, log, is_told):
    expected = Reason.ENTRY_POINT_NOT_RUNNABLE if is_told else Reason.NONE
    assert problem_told_by_init(exit_code=exit_code, log=log) is expected


@pytest.mark.docker
@pytest.mark.parametrize("broken", ["absent", "line ends of Windows", "not executable"])
def test_the_real_init_of_the_engine_is_understood(broken, tmp_path, docker_engine, spec_of, execute):
    """The engine sees a container that ran. The layers would have told, so the image goes round the intake's judgement here."""
    layers, words, more, _ = BROKEN[broken]
    bodies = [tar_of(*layer, entry(f"{broken}-{tmp_path.name}")) for layer in layers]
    config = config_of(*bodies, settings={"Entrypoint": words, "Cmd": None, **more})
    docker_engine.load_image(docker_save(tmp_path / "image.tar", *bodies, config=config))
    image_id = sha256_of_config(tmp_path / "image.tar")
    try:
        result = execute(spec_of(image_id=image_id), docker_engine)
    finally:
        docker_engine.remove_image(image_id)
    assert (result.verdict, result.reason) == (Verdict.IMAGE_INVALID, "entry_point_not_runnable"), result.log


def sha256_of_config(archive) -> str:
    with tarfile.open(archive) as opened:
        (entry_of_image,) = json.load(opened.extractfile("manifest.json"))
        return sha256(opened.extractfile(entry_of_image["Config"]).read())
