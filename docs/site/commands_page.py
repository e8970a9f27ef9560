"""`reference/commands.md`: every `assay` command, from click."""

from collections.abc import Iterator

import click
from markdown_text import block, table

from assay.client.cli import main

PLACE = "reference/commands.md"
OPENING = """# Commands

`assay` is one program for participants, organizers, operators and hospitals. Every command answers to `--help` with the text below.
"""


def pages() -> Iterator[tuple[str, str]]:
    """The one page."""
    context = click.Context(main, info_name="assay")
    yield PLACE, "\n\n".join([OPENING, *_sections(main, context, level=2)]) + "\n"


def _sections(group: click.Group, parent: click.Context, *, level: int) -> Iterator[str]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, parent=parent, info_name=name)
        yield _section(command, context, level=level)
        if isinstance(command, click.Group):
            yield from _sections(command, context, level=level + 1)


def _section(command: click.Command, context: click.Context, *, level: int) -> str:
    words = " ".join(" ".join(piece) for piece in [command.collect_usage_pieces(context)])
    parts = [f"{'#' * level} {context.command_path}", block(f"{context.command_path} {words}")]
    if command.help:
        parts.append(_escaped(command.help.split("\f")[0]))
    rows = [
        record
        for item in command.get_params(context)
        if (record := item.get_help_record(context)) and item.name != "help"
    ]
    if rows:
        parts.append(table(("option", "says"), [(f"`{option}`", _escaped(text)) for option, text in rows]))
    return "\n\n".join(parts)


def _escaped(text: str) -> str:
    """Text of a command as Markdown: angle brackets are no tags, and `\\b` of click is no character."""
    lines = text.replace("\b", "").replace("<", "&lt;").splitlines()
    return "\n".join(line.strip() for line in lines)
