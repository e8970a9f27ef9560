"""Who an image's USER is, told from its layers: names, numbers, homes, and everything that is refused instead of guessed."""

import json
import tarfile

import pytest

from containers.intake.accounts import MAX_ACCOUNT_BYTES
from image_archives import LAYER, config_of, docker_save, entry, folder, hard_link, symlink, tar_of

PASSWD = b"""root:x:0:0:root:/root:/bin/bash
# a comment, and what asks a directory service
+::::::
toor:x:0:0::/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
user:x:999:998:,,,:/home/user:/bin/sh
user:x:5:5::/second:/bin/sh
openshift:x:1001:0::/opt/app-root:/bin/sh
strange:x:1002:1002::../up:/bin/sh
"""
GROUP = b"root:x:0:\nusers:x:100:user\nextra:x:4321:user\n"
ACCOUNTS = tar_of(folder("etc"), entry("etc/passwd", PASSWD, mode=0o644), entry("etc/group", GROUP, mode=0o644))


@pytest.fixture
def report_of(tmp_path, judge):
    def go(user, *layers, env=(), working_dir=""):
        layers = (LAYER, *(layers or (ACCOUNTS,)))
        config = config_of(*layers, settings={"User": user, "Env": ["PATH=/bin", *env], "WorkingDir": working_dir})
        return judge(docker_save(tmp_path / "a.tar", *layers, config=config))

    return go


@pytest.mark.parametrize(
    ("user", "run_user", "home"),
    [
        ("user", "999:998", "/home/user"),
        ("999", "999:998", "/home/user"),
        ("0999", "999:998", "/home/user"),
        ("user:users", "999:100", "/home/user"),
        ("user:4321", "999:4321", "/home/user"),
        ("user:root", "999:65532", "/home/user"),
        ("openshift", "1001:65532", "/opt/app-root"),
        ("strange", "1002:1002", "/tmp"),
        ("4711", "4711:65532", "/tmp"),
        ("4711:4711", "4711:4711", "/tmp"),
        ("nobody", "65534:65534", "/nonexistent"),
    ],
)
def test_a_user_is_found_by_name_or_number_and_never_gets_roots_group(report_of, checked, user, run_user, home):
    report = report_of(user)
    assert (report.run_user, report.home, report.user_problem) == (run_user, home, "")
    settings = written_settings(checked)
    assert settings["User"] == run_user
    assert f"HOME={home}" in settings["Env"]


@pytest.mark.parametrize("user", ["", "root", "0", "0:0", "root:user", "0:1000", "toor"])
def test_root_by_any_name_is_mapped_to_the_rule_of_everybody(report_of, checked, user):
    report = report_of(user, env=["HOME=/root"])
    assert (report.run_user, report.home, report.user_problem) == ("", "", "")
    assert written_settings(checked) == {
        "User": "65532:65532", "Env": ["PATH=/bin"], "Entrypoint": None, "Cmd": ["/app/run.sh"], "WorkingDir": "/",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("home", "expected"),
    [
        ("/opt/home", "/opt/home"),
        ("relative", "/home/user"),
        ("/a/../b", "/home/user"),
        ("/proc/self/cwd", "/home/user"),
        ("/a b", "/home/user"),
    ],
)
def test_the_images_own_home_variable_counts_where_it_is_a_plain_folder(report_of, home, expected):
    assert report_of("user", env=[f"HOME={home}"]).home == expected


@pytest.mark.parametrize(
    ("user", "layers", "problem"),
    [
        ("ghost", (ACCOUNTS,), "no line of the image's /etc/passwd has this name. Add `RUN useradd --create-home ghost`"),
        ("user", (LAYER,), "no line of the image's /etc/passwd"),
        ("user:ghosts", (ACCOUNTS,), "no line of the image's /etc/group"),
        ("us er", (ACCOUNTS,), "expected a name or a number"),
        ("$(id)", (ACCOUNTS,), "expected a name or a number"),
        ("99999999999", (ACCOUNTS,), "no line of the image's /etc/passwd"),
        ("3000000000", (ACCOUNTS,), "at most 2147483647"),
        ("user", (tar_of(symlink("etc/passwd", "/proc/self/environ")),), "is a symbolic link"),
        ("user", (tar_of(entry("x", PASSWD), hard_link("etc/passwd", "x")),), "is a hard link"),
        ("user", (tar_of(symlink("etc", "/usr/etc")),), "lies behind a link"),
        ("user", (tar_of(entry("etc/passwd", b"#" * (MAX_ACCOUNT_BYTES + 1))),), "at most 262,144 are read"),
        ("user", (tar_of(entry("etc/passwd", b"user:x:" + b"9" * 2000)),), "a line of more than 1024 bytes"),
        ("user", (tar_of(entry("etc/passwd", b"user:x:999\n")),), "has 3 fields; expected 7"),
        ("user", (tar_of(entry("etc/passwd", b"user:x:-1:5::/h:/s\n")),), "a uid is '-1'"),
        ("user", (tar_of(entry("etc/passwd", "user:x:٣:5::/h:/s\n".encode())),), "a uid is '٣'"),
        ("user", (ACCOUNTS, tar_of(entry("etc/.wh.passwd"))), "no line of the image's /etc/passwd"),
        ("user", (ACCOUNTS, tar_of(entry("etc/.wh..wh..opq"))), "no line of the image's /etc/passwd"),
        ("user", (ACCOUNTS, tar_of(entry(".wh.etc"))), "no line of the image's /etc/passwd"),
        ("user", (ACCOUNTS, tar_of(entry("etc/passwd", kind=tarfile.FIFOTYPE))), "is a fifo"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_a_problem_of_this_profile_alone(report_of, checked, user, layers, problem):
    """The image is accepted: under the other profiles its USER has never mattered."""
    report = report_of(user, *layers)
    assert problem in report.user_problem
    assert report.run_user == ""
    assert written_settings(checked)["User"] == "65532:65532"


def test_the_topmost_passwd_counts(report_of):
    upper = tar_of(entry("etc/passwd", b"user:x:7:8::/h:/s\n"))
    assert report_of("user", ACCOUNTS, upper).run_user == "7:8"
    hidden_and_new = tar_of(entry("etc/.wh..wh..opq"), entry("etc/passwd", b"user:x:7:8::/h:/s\n"))
    assert report_of("user", ACCOUNTS, hidden_and_new).run_user == "7:8"


def test_what_an_image_was_built_for_is_told_with_its_reasons(report_of):
    home = (
        entry("home/user", kind=tarfile.DIRTYPE, mode=0o750, uid=999),
        entry("home/user/.bashrc", b"#", mode=0o644, uid=999),
        entry("home/user/.local/lib/python3.11/site-packages/torch/nn.py", b"#", mode=0o644, uid=999),
        entry("opt/app", kind=tarfile.DIRTYPE, mode=0o755, uid=999),
    )
    report = report_of("user", ACCOUNTS, tar_of(*home), working_dir="/opt/app")
    assert report.needed_profile == "image-user"
    assert [line.split(" ")[0] for line in report.needed_because] == ["packages", "WORKDIR", "1"]
    assert report.warnings_as_image_user == ()
    by_root = report_of("root", ACCOUNTS, tar_of(*(entry("root/w.bin", b"1", mode=0o600),)))
    assert by_root.needed_profile == "legacy"
    assert report_of("user").needed_profile == "default"


def written_settings(archive):
    with tarfile.open(archive) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))
        return json.load(tar.extractfile(manifest[0]["Config"]))["config"]
