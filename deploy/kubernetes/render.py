"""Write `manifests/` from the Helm chart, for clusters without Helm: `python deploy/kubernetes/render.py [--set name=value …]`.

It understands as much of Helm's templates as this chart uses, and refuses the rest: values, `if`, `range` over a list of words, and files
as a ConfigMap. A test keeps what it writes the committed one. `--set` writes to standard output instead.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CHART = HERE / "chart"
ACTION = re.compile(r"\{\{-?\s*(.+?)\s*-?\}\}")
WHOLE_LINE = re.compile(r"^\s*\{\{-?\s*(.+?)\s*-?\}\}\s*$")


def render(text: str, values: dict[str, Any]) -> str:
    """One template with these values. Raises ValueError for what it does not understand."""
    return "\n".join(_lines(text.splitlines(), values, {})) + "\n"


def _lines(lines: list[str], values: dict[str, Any], names: dict[str, str]) -> list[str]:
    made: list[str] = []
    at = 0
    while at < len(lines):
        whole = WHOLE_LINE.match(lines[at])
        word = whole[1].split(" ")[0] if whole else ""
        if word in ("if", "range"):
            end = _end(lines, at)
            made += _block(whole[1] if whole else "", lines[at + 1 : end], values, names)
            at = end
        elif whole and whole[1].startswith("(.Files.Glob"):
            made += _files(whole[1])
        else:
            made.append(ACTION.sub(lambda found: _value(found[1], values, names), lines[at]))
        at += 1
    return made


def _block(action: str, lines: list[str], values: dict[str, Any], names: dict[str, str]) -> list[str]:
    if action.startswith("if "):
        return _lines(lines, values, names) if _value(action[3:], values, names) not in ("", "false", "0") else []
    found = re.fullmatch(r"range (\$\w+) := list (.+)", action)
    if found is None:
        raise ValueError(f'found {action!r}; expected `range $name := list "…" …`')
    return [
        line for word in re.findall(r'"([^"]*)"', found[2]) for line in _lines(lines, values, {**names, found[1]: word})
    ]


def _end(lines: list[str], start: int) -> int:
    depth = 0
    for at in range(start, len(lines)):
        whole = WHOLE_LINE.match(lines[at])
        word = whole[1].split(" ")[0] if whole else ""
        depth += (word in ("if", "range")) - (word == "end")
        if depth == 0:
            return at
    raise ValueError(f"the block of line {start + 1} does not end")


def _value(expression: str, values: dict[str, Any], names: dict[str, str]) -> str:
    if expression in names:
        return names[expression]
    path = re.fullmatch(r"\$?\.Values((?:\.\w+)+)", expression)
    if path is None:
        raise ValueError(f"found {expression!r}; expected a value of the chart")
    found: Any = values
    for name in path[1].strip(".").split("."):
        found = found[name]
    return {True: "true", False: "false"}[found] if isinstance(found, bool) else str(found)


def _files(expression: str) -> list[str]:
    found = re.fullmatch(r'\(\.Files\.Glob "(.+)"\)\.AsConfig \| indent (\d+)', expression)
    if found is None:
        raise ValueError(f"found {expression!r}; expected files as a ConfigMap")
    made = []
    for path in sorted(CHART.glob(found[1])):
        lines = [f"{path.name}: |-", *(f"  {line}" for line in path.read_text(encoding="utf-8").splitlines())]
        made += [" " * int(found[2]) + line for line in lines]
    return made


def manifests(values: dict[str, Any]) -> dict[str, str]:
    """The text of each file of `manifests/`."""
    templates = sorted((CHART / "templates").glob("*.yaml"))
    return {path.name: render(path.read_text(encoding="utf-8"), values) for path in templates}


def usual_values() -> dict[str, Any]:
    """`values.yaml`."""
    return dict(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))


def main(arguments: list[str]) -> int:
    """0 once everything is written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="such as agent.slots=50")
    options = parser.parse_args(arguments)
    values = usual_values()
    for word in options.set:
        path, _, text = word.partition("=")
        *folders, name = path.split(".")
        inside = values
        for folder in folders:
            inside = inside[folder]
        if name not in inside:
            parser.error(f"found {path!r}; expected a name of values.yaml")
        inside[name] = yaml.safe_load(text) if text else ""
    for file, text in manifests(values).items():
        if options.set:
            sys.stdout.write(f"---\n{text}")
        else:
            (HERE / "manifests" / file).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
