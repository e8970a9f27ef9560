"""Logs are shown without doing anything to their reader."""

import pytest

from containers.log_text import readable


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (b"plain\ttext\n", "plain\ttext\n"),
        (b"50%\r100%\r\n", "50%\u240d100%\n"),
        (b"\x1b[2J\x1b]0;title\x07", "\u241b[2J\u241b]0;title\u2407"),
        (b"a\x00b\x7f", "a\u2400b\u2421"),
        (b"\xff\xfe\xc3", "\ufffd\ufffd\ufffd"),
        ("\u0085\u009b31m".encode(), "\ufffd\ufffd31m"),
        ("safe\u202etxt.exe".encode(), "safe\ufffdtxt.exe"),
        ("Größe 🧠".encode(), "Größe 🧠"),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
@pytest.mark.catalogue(
    61, attack="ANSI, NUL, invalid UTF-8, reordering marks in a log", verdict="plain text", guard="shown as symbols"
)
def test_a_log_is_plain_text(log, text):
    assert readable(log) == text
