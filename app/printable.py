"""Text that may come from strangers, made safe to print: in logs, in messages and on pages."""

import re

# C0 and C1 controls, such as the escape sequences that a terminal obeys; line separators; the
# Unicode property Bidi_Control, which shows text in another order; and lone surrogates.
CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_controls(text: str) -> str:
    r"""The text with each control character as Python writes it, such as \x1b."""
    if text.isprintable():  # the usual case, at no cost
        return text
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable(text: str, *, most: int) -> str:
    """One line without control characters. It has at most `most` bytes; … marks a cut."""
    escaped = escape_controls(text[:most])
    encoded = escaped.encode()
    if len(text) <= most and len(encoded) <= most:
        return escaped
    return encoded[: most - len("…".encode())].decode(errors="ignore") + "…"
