"""What operators decide on the server's command line: who may publish, and whose a pool of nodes is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click


@contextmanager
def refusals_in_words() -> Iterator[None]:
    """Show what the server refuses without a traceback."""
    from assay.accounts.errors import AssayError

    try:
        yield
    except AssayError as error:
        found = error.found and f"found: {error.found}"
        expected = error.expected and f"expected: {error.expected}"
        lines = [error.message, found, expected, error.what_to_do]
        raise click.ClickException("\n  ".join(line for line in lines if line)) from error


def rights_commands(database_answers: Callable[[], None]) -> list[click.Command]:
    """The commands of `assay admin`. `database_answers` loads Django, which none of this may need before."""

    @click.command()
    def publications() -> None:
        """List the drafts that wait to be published."""
        database_answers()
        from assay.challenges.publication import waiting_publications

        for request in waiting_publications():
            asked = f"{request.asked_at:%Y-%m-%d %H:%M} UTC by {request.asked_by.username}"
            click.echo(f"{request.challenge.slug}: {request.challenge.title} (asked {asked})")

    @click.command()
    @click.argument("slug")
    def publish(*, slug: str) -> None:
        """Publish the draft SLUG, which waits for it."""
        _decide(slug, approves=True, reason="")
        click.echo(f"{slug} is public.")

    @click.command()
    @click.argument("slug")
    @click.option("--reason", required=True, help="What the organizers have to change; they read it.")
    def refuse(*, slug: str, reason: str) -> None:
        """Refuse to publish the draft SLUG."""
        _decide(slug, approves=False, reason=reason)
        click.echo(f"{slug} stays a draft. Its organizers read your reason.")

    @click.command()
    @click.argument("name", required=False)
    @click.option("--person", "people", multiple=True, help="User name of somebody whose challenges may use it.")
    @click.option("--challenge", "challenges", multiple=True, help="A challenge that may use it.")
    @click.option("--note", default="", help="Whose machines these are; organizers read it.")
    @click.option("--everybody", is_flag=True, help="Give it back to everybody.")
    def pool(
        *, name: str | None, people: tuple[str, ...], challenges: tuple[str, ...], note: str, everybody: bool
    ) -> None:
        """Say whose the pool of nodes NAME is; without NAME, list the pools that belong to somebody."""
        database_answers()
        from assay.challenges.pools import owned_pools, set_pool_owners

        if name and bool(people or challenges) == everybody:
            raise click.UsageError("Name people or challenges, or say --everybody.")
        if name:
            with refusals_in_words():
                set_pool_owners(
                    name=name, people=people, challenges=challenges, note=note, by=None, now=datetime.now(tz=UTC)
                )
        for row in owned_pools():
            owners = [person.username for person in row.people.all()]
            owners += [f"challenge {challenge.slug}" for challenge in row.challenges.all()]
            click.echo(f"{row.name}: {', '.join(owners)}" + (f" ({row.note})" if row.note else ""))

    def _decide(slug: str, *, approves: bool, reason: str) -> None:
        database_answers()
        from assay.evaluations import pushing

        with refusals_in_words():
            pushing.decide_publication(slug=slug, approves=approves, reason=reason, by=None, now=datetime.now(tz=UTC))

    return [publications, publish, refuse, pool]
