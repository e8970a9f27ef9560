"""What a team's requirements.txt and metadata may say. No database."""

import pytest

from assay.submissions.code import (
    CodeRefused,
    command_of_code,
    project_name,
    read_requirements,
    read_wheels,
    why_not_installed,
)


def test_lines_that_name_packages_are_read():
    text = "\ufeffnumpy\n\n# a comment\nScikit_Image[optional] >= 0.20, <1  # why\ntorch==2.1.0+cpu; python_version >= '3.9'\n"
    found = read_requirements(text.encode())
    assert [(wanted.line, wanted.project) for wanted in found] == [(1, "numpy"), (4, "scikit-image"), (5, "torch")]


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt", "--index-url https://x", "git+https://x/y", "numpy @ https://x/y.whl", "./local", "/etc/passwd", "-e .",
        "numpy>=1 --hash=sha256:00", "a" * 400, "x; import os\n$(id)", "numpy\x00", "file:///x", "numpy>=1 \\",
    ],
)  # fmt: skip
def test_whatever_else_pip_would_read_is_refused_with_its_line(line):
    with pytest.raises(CodeRefused, match=r"requirements.txt, line [12]"):
        read_requirements(line.encode())


def test_text_that_is_none_and_too_many_lines_are_refused():
    with pytest.raises(CodeRefused, match="UTF-8"):
        read_requirements(b"\xff\xfe")
    with pytest.raises(CodeRefused, match="501 packages"):
        read_requirements(b"a\n" * 501)


def test_wheels_are_listed_by_project():
    names = ["scikit_image-0.20-cp311-cp311-linux_x86_64.whl", "Scikit.Image-0.21-1-cp311-cp311-linux_x86_64.whl"]
    assert read_wheels(names) == {"scikit-image": ["0.20", "0.21"]}
    assert project_name("A__b.C") == "a-b-c"
    with pytest.raises(ValueError, match="tar"):
        read_wheels(["x-1.tar.gz"])


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("command: python3 $program/p.py $input $output", ("python3", "/app/program/p.py", "/in", "/out")),
        ("command: python3 ${program}/p.py 'a b'", ("python3", "/app/program/p.py", "a b")),
        ("command: bash $ingestion_program/x.sh", ("bash", "/app/program/x.sh")),
        ("description: none", ("python3", "/app/program/predict.py")),
        (None, ("python3", "/app/program/predict.py")),
    ],
)
def test_the_command_of_metadata_is_split_into_words_without_a_shell(metadata, words):
    raw = metadata.encode() if metadata is not None else None
    found = command_of_code({"predict.py"}, metadata=raw, input_mount="/in", output_mount="/out")
    assert found == words


@pytest.mark.parametrize(
    "metadata",
    [
        b"command: [1]",
        b"command: 'x",
        b'command: "\'x"',
        b"command: {a: b}",
        b": : :",
        b"command: !!bool x",
        b"command: !!timestamp x",
    ],
)
def test_a_command_that_cannot_be_read_is_refused_or_missing(metadata):
    with pytest.raises(CodeRefused):
        command_of_code(set(), metadata=metadata, input_mount="/in", output_mount="/out")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ERROR: Could not find a version that satisfies the requirement leaf==3 (from versions: 1.0)", "line 1, asks for leaf==3"),
        ("ERROR: Could not find a version that satisfies the requirement leaf>=9 (from tree) (from versions: 1.0)", "names needs leaf>=9"),
        ("ERROR: Could not find a version that satisfies the requirement moss (from tree) (from versions: none)", "has no moss"),
        ("ERROR: ResolutionImpossible: see", "pip said: ResolutionImpossible"),
        ("", "pip said: nothing"),
    ],
)  # fmt: skip
def test_what_pip_said_is_told_with_what_the_wheel_house_has(said, told):
    requirements = read_requirements(b"leaf==3\ntree")
    assert told in why_not_installed(said, requirements=requirements, wheels={"leaf": ["1.0"], "tree": ["2"]})
