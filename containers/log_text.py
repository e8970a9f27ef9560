"""A container's log as text that can be shown: untrusted bytes in, characters without side effects out.

Control characters move cursors, ring bells and hide text in a terminal. NUL and broken UTF-8 upset databases and browsers. They
become visible symbols. What is left is plain text: code that puts it into HTML still has to escape it, as any text.
"""

__all__ = ["readable"]

CONTROL_PICTURES = 0x2400
DELETE, DELETE_PICTURE = 0x7F, "\u2421"
REPLACEMENT = "\ufffd"
KEPT = {"\n", "\t"}
BIDIRECTIONAL = {*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
"""They reorder what a reader sees."""

SYMBOLS = {code: chr(CONTROL_PICTURES + code) for code in range(0x20) if chr(code) not in KEPT}
SYMBOLS |= {DELETE: DELETE_PICTURE}
SYMBOLS |= dict.fromkeys([*range(0x80, 0xA0), *BIDIRECTIONAL], REPLACEMENT)


def readable(log: bytes) -> str:
    """The log with every control character but newline and tab made visible. \\r\\n counts as a newline."""
    return log.replace(b"\r\n", b"\n").decode("utf-8", errors="replace").translate(SYMBOLS)
