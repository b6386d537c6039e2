"""Comments that say which lines are only for some clones.

A line that ends in the comment `sample`, and the lines between the comments `begin sample` and
`end sample`, belong to the sample. The word `template` marks what no clone keeps. A file in which
nothing else stands goes as a whole.
"""

import re

from template.init.tree import Refused

OPEN = r"(?:\#|//|<!--|\{\#|/\*)\s*"
CLOSE = r"\s*(?:-->|\#\}|\*/)?\s*\|?\s*"


def without(text: str, word: str) -> tuple[str, int]:
    """Return the text less the places marked with the word, and how many places these were."""
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
        # Of the blank lines around what is gone, those on one side are enough.
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
