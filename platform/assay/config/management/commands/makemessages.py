"""`manage.py makemessages`: collects all sentences marked for translation into one catalogue for each language, and compiles it.

Django's own command walks the current folder and writes the time into each file. This one reads the platform only, writes no
time, and compiles what it wrote. So a second call changes nothing, and a program without gettext finds the compiled catalogues.
A new language is a new folder: `mkdir -p platform/assay/locale/fr/LC_MESSAGES`, then this command.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import makemessages

PLATFORM = Path(__file__).resolve().parents[3]
LOCALE = PLATFORM / "locale"
WITHOUT_DJANGO = ("client", "node")  # programs of their own: their text for terminals stays English
OPTIONS = ("--add-location=file", "--width=120")
HEADER = """msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"{plural}\\n"
"""


class Command(makemessages.Command):
    help = "Collects the sentences marked for translation into platform/assay/locale, and compiles the catalogues."
    msgmerge_options = ["-q", "--backup=none", "--no-fuzzy-matching", "--update", *OPTIONS]
    msguniq_options = ["--to-code=utf-8", *OPTIONS]
    msgattrib_options = ["--no-obsolete", *OPTIONS]
    xgettext_options = ["--from-code=UTF-8", "--keyword=noop", "--add-comments=Translators", *OPTIONS]

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(all=True, no_obsolete=True)

    def handle(self, *args: Any, **options: Any) -> None:
        os.chdir(PLATFORM)
        super().handle(*args, **options)
        for catalogue in sorted(LOCALE.glob("*/LC_MESSAGES/django.po")):
            catalogue.write_text(with_constant_header(catalogue.read_text(), language=catalogue.parts[-3]))
            subprocess.run(
                ["msgfmt", "--check-format", "--check-domain", "-o", catalogue.with_suffix(".mo"), catalogue],
                check=True,
            )

    def find_files(self, root: str) -> list[makemessages.TranslatableFile]:
        """All files of the platform that may hold sentences."""
        found: list[makemessages.TranslatableFile] = super().find_files(root)
        return [file for file in found if Path(file.path).parts[:1] not in {(room,) for room in WITHOUT_DJANGO}]


def with_constant_header(text: str, *, language: str) -> str:
    """A catalogue whose header says neither when nor by whom it was written: equal sentences make equal files."""
    plural = re.search(r'^"(Plural-Forms: [^"]*)\\n"$', text, flags=re.MULTILINE)
    header = HEADER.format(
        language=language, plural=plural[1] if plural else "Plural-Forms: nplurals=2; plural=(n != 1);"
    )
    _, _, entries = text.partition("\n\n")
    return f"{header}\n{entries.rstrip()}\n"
