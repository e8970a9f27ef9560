"""Every `assay` command that a page tells people to type is one that the program takes: command, options, arguments, values."""

import re
import shlex
from pathlib import Path

import click
import pytest

from assay.client.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for folder in ("docs", "platform", "deploy", "containers", "evaluator")
    for page in (ROOT / folder).rglob("*.md")
    if "decisions" not in page.parts  # what was decided names commands as they were then
)
BLOCK = re.compile(r"```(?:sh|bash|console)\n(.*?)```", re.DOTALL)
MENTION = re.compile(r"`((?:\.venv/bin/)?assay [^`\n]+)`")
CALL = re.compile(r"(?:^|[\s;&|(])((?:[A-Z_]+=\S+ )*)(?:[^\s'\"]*/)?assay ((?=[a-z<-]).*)")
END = re.compile(r"\s(?:\||&&|&|>|<)(?:\s|$)|;|\)")
ELLIPSIS = "…"


def commands_to_type(page):
    """Lines of the page's shell blocks, without their comments."""
    for block in BLOCK.findall(page.read_text()):
        yield from (line.split(" #")[0] for line in block.replace("\\\n", " ").splitlines())


def commands_mentioned(page):
    """Commands inside sentences. They may be named without all of their arguments."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    yield from MENTION.findall(text)


def problem_of(line, *, whole):
    """What the program would say of the line, or nothing. `whole`: required options and arguments are asked for."""
    call = CALL.search(line)
    if call is None or line.lstrip().startswith(("install ", "helm install ", "useradd ", "chown ", "docker build ")):
        return ""
    words = shlex.split(END.split(call[2])[0])
    whole = whole and ELLIPSIS not in words  # an ellipsis stands for what the page does not repeat
    command, context = main, click.Context(main, info_name="assay")
    while isinstance(command, click.Group) and words:
        if words[0].startswith("-"):
            words = words[1 if words[0] in ("-h", "--help", "--version") else 2 :]
            continue
        found = command.get_command(context, words[0])
        if found is None:
            known = [name for name in re.split(r"\|", words[0]) if command.get_command(context, name)]
            return "" if known and not whole else f"there is no command {words[0]!r}"
        command, context, words = found, click.Context(found, parent=context, info_name=words[0]), words[1:]
    if (
        isinstance(command, click.Group)
        or {"-h", "--help"} & {*words}
        or command.context_settings.get("ignore_unknown_options")
    ):
        return ""
    if words and words[-1].startswith("--") and not whole:
        words.append("X")  # a mention names an option without its value
    values, left, _order = command.make_parser(context).parse_args(words)
    left = [word for word in left if word not in ("X", ELLIPSIS)]
    if left:
        return f"nothing takes {left}"
    for parameter in command.params:
        value = values.get(parameter.name)
        missing = not isinstance(value, str | list | tuple | bool | int) or value == ()
        in_environment = parameter.envvar and f"{parameter.envvar}=" in call[1]
        if whole and parameter.required and missing and not getattr(parameter, "prompt", None) and not in_environment:
            return f"{parameter.opts} is missing"
        if (
            isinstance(parameter.type, click.Choice | click.IntRange)
            and isinstance(value, str)
            and ELLIPSIS not in value
        ):
            parameter.type.convert(value, parameter, context)
    return ""


def refusal_of(line, *, whole):
    """As `problem_of`, with what click itself refuses."""
    try:
        return problem_of(line, whole=whole)
    except click.UsageError as refused:
        return refused.format_message()


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_can_be_typed_as_they_stand(page):
    found = {line: refusal_of(line, whole=True) for line in commands_to_type(page)}
    found |= {line: refusal_of(line, whole=False) for line in commands_mentioned(page)}
    assert {line: words for line, words in found.items() if words} == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("assay phase publish liver/final --now", "No such option"),
        ("assay submit a.tar --phase liver/final", "is missing"),
        ("cd x && assay publish liver", "there is no command 'publish'"),
        ("assay challenge publish liver final", "nothing takes ['final']"),
        ("assay evaluate --references a --predictions b -o c --backend gpus", "is not one of"),
        ("assay challenge publish liver", ""),
        ("ASSAY_NODE_TOKEN=x assay node run --url https://assay.example.org", ""),
    ],
)
def test_a_command_that_the_program_does_not_take_is_found(line, words):
    assert words in refusal_of(line, whole=True)
    assert bool(words) == bool(refusal_of(line, whole=True))
