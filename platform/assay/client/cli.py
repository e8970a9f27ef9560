"""The `assay` command: one group for the commands of every room.

It knows them by the table in `commands.py` and imports a room when its command runs. Therefore nothing but click and this room's
smallest modules may be imported here: `assay evaluate` pays for what stands on this page.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from assay.client.commands import COMMANDS
from assay.client.credentials import config_path
from assay.client.errors import ClientError
from assay.client.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

WHAT_IS_MISSING = "in a checkout run `make setup`; where a wheel is installed: pip install 'FILE.whl[server]'"


class Shown(click.ClickException):
    """A `ClientError` as click shows it: every line it has, no traceback."""

    def __init__(self, error: ClientError) -> None:
        first, *rest = error.lines()
        super().__init__("\n".join([first, *(f"  {line}" for line in rest)]))


class Rooms(click.Group):
    """The commands of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command there is."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command itself, its room imported."""
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does. A name that nobody has is answered with those that come near it."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {name!r}.{_meant(name)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of `assay --help`, from the table."""
        click.Group(commands=_described()).format_commands(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """What the shell offers after `assay`, from the table."""
        from click.shell_completion import CompletionItem

        fitting = [command for command in _described() if command.name and command.name.startswith(incomplete)]
        offered = [CompletionItem(command.name, help=command.get_short_help_str()) for command in fitting]
        return [*offered, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and show what the person can act on instead of a traceback."""
        try:
            return super().invoke(ctx)
        except ClientError as error:
            raise Shown(error) from error
        except UnicodeDecodeError as error:
            found = f"the byte 0x{error.object[error.start]:02x} at position {error.start}"
            raise Shown(ClientError("A file is not text", found=found, expected="UTF-8")) from error
        except OSError as error:
            if not isinstance(error.filename, str | bytes) or isinstance(error, BrokenPipeError):
                raise  # no file of the person's: click knows what to do with a closed pipe
            raise Shown(ClientError(f"{os.fsdecode(error.filename)}: {error.strerror}")) from error


def _described() -> list[click.Command]:
    """Stand-ins that know their name and their line of help."""
    return [click.Command(name, help=COMMANDS[name].help) for name in sorted(COMMANDS)]


def _meant(name: str) -> str:
    from difflib import get_close_matches

    near = [repr(known) for known in get_close_matches(name, COMMANDS)]
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _load(name: str) -> click.Command:
    """The room's command, or one that says why it is not there: a broken room must not take the others down."""
    module, _, attribute = COMMANDS[name].home.partition(":")
    try:
        command: click.Command = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        reason = str(error)

        @click.command(name, help=f"Not available here: {reason}", context_settings={"ignore_unknown_options": True})
        @click.argument("arguments", nargs=-1)
        def unavailable(arguments: tuple[str, ...]) -> None:  # noqa: ARG001 - takes whatever the real one would
            raise ClientError(f"`assay {name}` is not available here", found=reason, what_to_do=WHAT_IS_MISSING)

        return unavailable
    return command


@click.group(cls=Rooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="ASSAY_URL", default="", help="The server; ASSAY_URL; else the one `assay login` chose.")
@click.option(
    "--token", envvar="ASSAY_TOKEN", default="", help="The API token; ASSAY_TOKEN; else the one of `assay login`."
)
@click.version_option(package_name="assay")
@click.pass_context
def main(ctx: click.Context, url: str, token: str) -> None:
    """Take part in, organize and run medical-image challenges."""
    ctx.obj = Session(url=url, token=token, path=config_path())
