"""`manage.py collect_garbage`: what lies in storage that nobody refers to. Deleted only when asked to."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.template.defaultfilters import pluralize
from django.utils import timezone

from assay.workflow.operations.garbage import GRACE, delete_garbage, find_garbage, heaps_of


class Command(BaseCommand):
    """The door."""

    help = f"Say which stored files older than {GRACE.days} days no row refers to, and how much that is; --delete deletes them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Two switches."""
        parser.add_argument("--delete", action="store_true", help="delete them; without it nothing is changed")
        parser.add_argument("--list", action="store_true", help="name every file")

    def handle(self, *, delete: bool, list: bool, **_: Any) -> None:  # noqa: A002  the option's name
        """Find, tell, delete."""
        garbage = find_garbage(now=timezone.now())
        if list:
            for file in garbage:
                self.stdout.write(f"{file.bytes:>14,}  {file.modified_at:%Y-%m-%d}  {file.key}")
        for heap in heaps_of(garbage):
            self.stdout.write(f"{heap.folder}: {heap.files} file{pluralize(heap.files)}, {heap.bytes:,} bytes")
        total = sum(file.bytes for file in garbage)
        if delete:
            delete_garbage(garbage)
        done = "deleted" if delete else "would be deleted; add --delete to do it"
        self.stdout.write(f"{len(garbage)} file{pluralize(len(garbage))}, {total:,} bytes {done}.")
