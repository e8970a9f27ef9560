"""Submissions of code: what stands in a team's zip beside its programs, and what a wheel house has. Pure functions over text.

Nothing of a team is believed here. A line of requirements.txt may name a package and its versions, and nothing else: an option or an
address would be read by pip. The texts of `CodeRefused` are for the team, in English as what the inspection of an image says.
"""

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import yaml

REQUIREMENTS, PREDICT, METADATA = "requirements.txt", "predict.py", ("metadata", "metadata.yaml")
PROGRAM_FOLDER, PACKAGES_FOLDER = "/app/program", "/app/packages"
MOST_REQUIREMENTS = 500
LONGEST_LINE = 300
LONGEST_DOCUMENT = 64 * 1024
LISTED = 12
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSIONS = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_MARKER = r"""[A-Za-z0-9_.<>=!~"'() ]+"""
_REQUIREMENT = re.compile(
    rf"({_NAME})\s*(?:\[[A-Za-z0-9._, -]*\])?\s*\(?((?:{_VERSIONS})(?:\s*,\s*(?:{_VERSIONS}))*)?\)?\s*(?:;{_MARKER})?"
)
_WHEEL = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9._!+]+)(?:-[0-9][^-]*)?-[^-]+-[^-]+-[^-]+\.whl")


class CodeRefused(Exception):
    """The team's zip cannot be made into something that runs. The text is for the team."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One line that names a package."""

    line: int
    text: str
    project: str


def project_name(name: str) -> str:
    """A package's name as the packaging world compares it: `Scikit_Learn` is `scikit-learn`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements(raw: bytes) -> tuple[Requirement, ...]:
    """The packages that requirements.txt names. Raises CodeRefused."""
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise CodeRefused(f"{REQUIREMENTS} is no UTF-8 text. Save it as UTF-8.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        match = _REQUIREMENT.fullmatch(text) if len(text) <= LONGEST_LINE else None
        if match is None:
            raise CodeRefused(
                f"{REQUIREMENTS}, line {number}: found {text[:80]!r}; expected a package with versions, such as numpy>=1.24. "
                "Options, addresses and files cannot be installed without a network: leave them out."
            )
        found.append(Requirement(line=number, text=text, project=project_name(match[1])))
    if len(found) > MOST_REQUIREMENTS:
        raise CodeRefused(f"{REQUIREMENTS} names {len(found)} packages; at most {MOST_REQUIREMENTS} are installed.")
    return tuple(found)


def read_wheels(names: Iterable[str]) -> dict[str, list[str]]:
    """Package → its versions, of the file names of wheels. A name that is not a wheel's is a ValueError."""
    found: dict[str, list[str]] = {}
    for name in names:
        match = _WHEEL.fullmatch(name)
        if match is None:
            raise ValueError(name)
        versions = found.setdefault(project_name(match[1]), [])
        if match[2] not in versions:
            versions.append(match[2])
    return dict(sorted(found.items()))


def refuse_missing(requirements: Sequence[Requirement], *, wheels: Mapping[str, Sequence[str]]) -> None:
    """Every package that is named has a wheel of some version. Raises CodeRefused."""
    for wanted in requirements:
        if ";" not in wanted.text and wanted.project not in wheels:
            raise CodeRefused(why_missing(wanted, wheels=wheels))


def why_missing(wanted: Requirement, *, wheels: Mapping[str, Sequence[str]]) -> str:
    """What the team asked for and what the wheel house has instead."""
    versions = wheels.get(wanted.project)
    has = (
        f"{wanted.project} {', '.join(versions[:LISTED])}" if versions else f"no {wanted.project}, but {listed(wheels)}"
    )
    return (
        f"{REQUIREMENTS}, line {wanted.line}, asks for {wanted.text[:80]}. The wheel house of this phase has {has}. "
        "Ask for what it has, or ask the organizers to add a wheel."
    )


def listed(wheels: Mapping[str, Sequence[str]]) -> str:
    """The first packages and how many there are."""
    names = [f"{project} {versions[-1]}" for project, versions in sorted(wheels.items())]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}" if names else "nothing"


def why_not_installed(said: str, *, requirements: Sequence[Requirement], wheels: Mapping[str, Sequence[str]]) -> str:
    """What a team is told of an installer that gave up. `said`: what it wrote, which names no file of ours."""
    errors = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR: ")]
    for line in errors:
        if match := re.search(rf"requirement ({_NAME})", line):
            project = project_name(match[1])
            is_needed_by_another = re.search(r"\(from (?!versions)", line)
            if not is_needed_by_another and (
                named := next((wanted for wanted in requirements if wanted.project == project), None)
            ):
                return why_missing(named, wheels=wheels)
            versions = wheels.get(project)
            has = f"{project} {', '.join(versions[:LISTED])}" if versions else f"no {project}"
            return (
                f"A package that {REQUIREMENTS} names needs {line[match.start(1) :].split(' (from')[0][:80]}. The wheel house of this "
                f"phase has {has}. Ask for other versions, or ask the organizers to add a wheel."
            )
    first = errors[0] if errors else "nothing"
    return f"The packages of {REQUIREMENTS} cannot be installed together; pip said: {first[:160]}"


def command_of_code(
    names: Collection[str], *, metadata: bytes | None, input_mount: str, output_mount: str
) -> tuple[str, ...]:
    """What is started: `command` of the team's `metadata`, or `predict.py`. Raises CodeRefused.

    `$program`, `$input` and `$output` stand for folders, as they do on CodaBench. No shell reads the line.
    """
    text = _command_in(metadata) if metadata is not None else ""
    if text:
        folders = {
            "program": PROGRAM_FOLDER,
            "ingestion_program": PROGRAM_FOLDER,
            "input": input_mount,
            "output": output_mount,
        }
        for name, folder in sorted(folders.items(), key=lambda item: -len(item[0])):
            text = text.replace(f"${{{name}}}", folder).replace(f"${name}", folder)
        try:
            words = tuple(shlex.split(text))
        except ValueError as problem:
            raise CodeRefused(f"The command of metadata cannot be read: {problem}.") from None
        if not words:
            raise CodeRefused(
                "The command of metadata is empty. Write, for example, command: python3 $program/predict.py"
            )
        return words
    if PREDICT in names:
        return ("python3", f"{PROGRAM_FOLDER}/{PREDICT}")
    raise CodeRefused(
        f"The zip does not say what to start. Found {_some(names)}; expected {PREDICT}, or a file metadata with a line such as "
        "command: python3 $program/main.py $input $output"
    )


def _command_in(metadata: bytes) -> str:
    try:
        document = yaml.safe_load(metadata)
    except (
        yaml.YAMLError,
        ValueError,
        AttributeError,
        LookupError,
        RecursionError,
    ):  # also a tag on what it does not fit
        document = None
    command = document.get("command") if isinstance(document, dict) else None
    if command is not None and (not isinstance(command, str) or len(command) > 2000 or not command.isprintable()):
        raise CodeRefused(
            "The command of metadata is no line of text. Write, for example, command: python3 $program/predict.py"
        )
    return command or ""


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:5]
    return ", ".join(name[:60] for name in shown) if shown else "no file"
