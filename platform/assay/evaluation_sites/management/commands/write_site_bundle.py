"""`manage.py write_site_bundle`: orders and images for one site without a network, as one file for a stick."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from assay.accounts.errors import AssayError
from assay.challenges.models import Phase
from assay.evaluation_sites.bundles import USUAL_DAYS, USUAL_ORDERS, make_bundle
from assay.evaluation_sites.joining import find_site_of


class Command(BaseCommand):
    """The door."""

    help = "Write the work that waits for a site without a network into one file. Its program takes it: assay site take FILE."

    def add_arguments(self, parser: CommandParser) -> None:
        """For whom, where to, how much, for how long."""
        parser.add_argument("phase", help="CHALLENGE/PHASE")
        parser.add_argument("site", help="the site's name, such as st-mary")
        parser.add_argument("file", type=Path, help="a new file")
        parser.add_argument("--days", type=int, default=USUAL_DAYS, help="how long the orders are good")
        parser.add_argument("--most", type=int, default=USUAL_ORDERS, help="at most so many submissions")

    def handle(self, *, phase: str, site: str, file: Path, days: int, most: int, **_: Any) -> None:
        """Claim, then write. A file that is there already stays."""
        challenge, _slash, name = phase.partition("/")
        row = Phase.objects.select_related("challenge", "protocol").filter(challenge__slug=challenge, slug=name).first()
        if row is None:
            raise CommandError(f"There is no phase {phase}. Expected CHALLENGE/PHASE.")
        try:
            with file.open("xb") as stream:
                made = make_bundle(find_site_of(row, site), by=None, days=days, most=most, now=timezone.now())
                for piece in made.pieces():
                    stream.write(piece)
        except FileExistsError as error:
            raise CommandError(f"{file} is there already. Name a new file.") from error
        except AssayError as error:
            file.unlink()
            raise CommandError(str(error)) from error
        self.stdout.write(f"{file}: {made.orders} submissions, {file.stat().st_size:,} bytes, good for {days} days")
