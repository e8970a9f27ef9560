"""What operators decide on the server's command line: who may publish, whose a pool of nodes is, how much people may use."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click

DEFAULT = "default"


class Limit(click.ParamType[str]):
    """A whole number from 0, or `default`."""

    name = "NUMBER|default"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse anything else."""
        if value != DEFAULT and not (value.isascii() and value.isdigit()):
            self.fail(f"{value!r} is neither a whole number from 0 nor `{DEFAULT}`.", param, ctx)
        return value


LIMIT = Limit()


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
        """Say whose the pool of nodes NAME is. Without NAME, list the pools that belong to somebody."""
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

    @click.command()
    @click.argument("name", required=False)
    @click.option("--challenge", is_flag=True, help="NAME is a challenge, which has --run-hours alone.")
    @click.option("--drafts", type=LIMIT, help="Challenges that nobody else sees.")
    @click.option("--published", type=LIMIT, help="Challenges that are public and not archived.")
    @click.option("--storage-gib", type=LIMIT, help="Uploads, images and test sets.")
    @click.option("--run-hours", type=LIMIT, help="Time on nodes in a period.")
    def quota(*, name: str | None, challenge: bool, **limits: str | None) -> None:
        """Set limits of the person NAME: a number, or `default` for the installation's. Without NAME, list the largest users."""
        database_answers()
        from assay.accounts.selectors import get_person
        from assay.submissions import use
        from assay.submissions.space import in_gib

        now = datetime.now(tz=UTC)
        named = {key: None if limit == DEFAULT else int(limit) for key, limit in limits.items() if limit is not None}
        if name and challenge:
            if set(named) != {"run_hours"}:
                raise click.UsageError("A challenge has --run-hours alone.")
            with refusals_in_words():
                use.set_challenge_limit(slug=name, run_hours=named["run_hours"], by=None, now=now)
            click.echo(f"{name} has new limits.")
        elif name:
            if named:
                with refusals_in_words():
                    use.set_person_limits(username=name, limits=named, by=None, now=now)
            with refusals_in_words():
                for line in use.use_of(get_person(username=name), now=now):
                    click.echo(f"{line.title}: {line.used or 'not counted'} of {line.allowed}")
        else:
            for row in use.largest_users(now=now):
                hours = f"{row.run_seconds / 3600:,.1f} hours on nodes"
                counts = f"{row.drafts} drafts, {row.published} published"
                click.echo(f"{row.person.username}: {in_gib(row.stored_bytes)}, {hours}, {counts}")

    def _decide(slug: str, *, approves: bool, reason: str) -> None:
        database_answers()
        from assay.evaluations import pushing

        with refusals_in_words():
            pushing.decide_publication(slug=slug, approves=approves, reason=reason, by=None, now=datetime.now(tz=UTC))

    return [publications, publish, refuse, pool, quota]
