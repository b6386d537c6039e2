"""Comments that say which lines are only for some.

A line that ends in the comment `sample`, and the lines between the comments `begin` and `end` with
this word, belong to the sample; those of `template` to the repository that others clone, and to no
clone of it.
"""

import re

from dev.errors import DevError

OPEN = r"(?:\#|//|<!--|\{\#|/\*)\s*"
CLOSE = r"\s*(?:-->|\#\}|\*/)?\s*\|?\s*"


def without(text: str, word: str) -> tuple[str, int]:
    """Return the text less the lines marked with the word, and how many these were."""
    if word not in text:
        return text, 0
    # After the word may stand what else there is to say: `# sample: why`.
    single = re.compile(rf"{OPEN}{word}(?:[:,] .*?)?{CLOSE}$")
    begin, end = (re.compile(rf"\s*{OPEN}{edge} {word}{CLOSE}$") for edge in ("begin", "end"))
    lines = text.splitlines(keepends=True)
    kept: list[str] = []
    inside = parted = False
    for line in lines:
        bare = line.rstrip("\r\n")
        # Of the blank lines around what is gone, those on one side are enough.
        surplus = parted and not bare and (not kept or not kept[-1].strip())
        if (end if inside else begin).match(bare):
            inside, parted = not inside, inside
        elif begin.match(bare) or end.match(bare):
            raise DevError(f"`{bare.strip()}` does not pair with the one before it.")
        elif not inside and not single.search(bare) and not surplus:
            kept.append(line)
            parted = False
    if inside:
        raise DevError(f"`begin {word}` has no `end {word}`.")
    return "".join(kept), len(lines) - len(kept)
