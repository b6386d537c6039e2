"""Comments that mark lines of the sample and of the template.

A line that ends in the comment `sample` belongs to the sample, and so do the lines between the
comments `begin sample` and `end sample`. The word `template` marks lines that no clone keeps. A
file that has only marked lines is deleted.
"""

import re

from template.init.tree import Refused

OPEN = r"(?:\#|//|<!--|\{\#|/\*)\s*"
CLOSE = r"\s*(?:-->|\#\}|\*/)?\s*\|?\s*"


def without(text: str, word: str) -> tuple[str, int]:
    """Return the text without the places that the word marks, and the number of places."""
    if word not in text:
        return text, 0
    # A reason may follow the word: `# sample: why`.
    single = re.compile(rf"{OPEN}{word}(?:[:,] .*?)?{CLOSE}$")
    begin, end = (re.compile(rf"\s*{OPEN}{edge} {word}{CLOSE}$") for edge in ("begin", "end"))
    kept: list[str] = []
    places = 0
    inside = parted = False
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        # Keep the blank lines on one side of the removed lines only.
        surplus = parted and not bare and (not kept or not kept[-1].strip())
        if (end if inside else begin).match(bare):
            places += not inside
            inside, parted = not inside, inside
        elif begin.match(bare) or end.match(bare):
            raise Refused(f"`{bare.strip()}` does not pair with the one before it.")
        elif not inside and single.search(bare):
            places += 1
        elif not inside and not surplus:
            kept.append(line)
            parted = False
    if inside:
        raise Refused(f"`begin {word}` has no `end {word}`.")
    return "".join(kept), places
