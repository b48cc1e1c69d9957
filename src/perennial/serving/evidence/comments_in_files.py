"""Comments of reviews in files of received feedback: found in the bytes of a line, and overwritten in place."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from perennial.core.governance.reviews import ForgottenComments

COMMENT = re.compile(rb'"comment"\s*:\s*"((?:[^"\\]|\\.)*)', re.DOTALL)
"""Inside a JSON text a quote is escaped, so no text of a value looks like this; a cut one may have no end."""
SOURCE = re.compile(rb'"source"\s*:\s*"([^"\\]*)"')
SETTLED = timedelta(minutes=1)
"""A last line without an end in a file that was not changed for so long is that of a killed server."""
ESCAPE = re.compile(rb"\\.", re.DOTALL)


@dataclass(frozen=True)
class Overwritten:
    """Comments that were overwritten.

    Attributes:
        damaged: those of them in lines that are no feedback; whose they are is not always known.
    """

    comments: int = 0
    damaged: int = 0

    def __add__(self, other: Overwritten) -> Overwritten:
        return Overwritten(self.comments + other.comments, self.damaged + other.damaged)


def overwrite_comments(path: Path, rule: ForgottenComments, unended: bool = False) -> Overwritten:
    """Overwrite the comments of a rule in a file by spaces, which `Review` reads as no comment.

    No other byte changes and none moves: offsets into the file hold, and a server may append meanwhile. Ended at any
    byte of an escape sequence, the line is still JSON: first each becomes a line feed, then every byte a space. Ended
    within another character, which the system allows at the end of a page, it is damaged until this is done again.

    Args:
        unended: also in a last line without an end in a file that has just changed, which nobody is writing.
    """
    overwritten, start = Overwritten(), 0
    with path.open("r+b") as file:
        unended = unended or os.fstat(file.fileno()).st_mtime < (rule.until - SETTLED).timestamp()
        for line in file.read().splitlines(keepends=True):
            whole = line.removesuffix(b"\n")
            spans, damaged = _comments(whole, rule) if whole != line or unended else ([], False)
            for first, end in spans:
                text = line[first:end]
                os.pwrite(file.fileno(), ESCAPE.sub(rb"\\n", text), start + first)
                os.pwrite(file.fileno(), b" " * len(text), start + first)
            overwritten += Overwritten(len(spans), len(spans) if damaged else 0)
            start += len(line)
        if overwritten.comments:
            os.fsync(file.fileno())
    return overwritten


def _comments(line: bytes, rule: ForgottenComments) -> tuple[list[tuple[int, int]], bool]:
    """Return the places of the comments that a rule covers, and whether the line is damaged.

    Of a damaged line every comment counts where it names the source of the rule, or no source that can be read.
    """
    spans = [match.span(1) for match in COMMENT.finditer(line)]
    if not spans:
        return [], False
    try:
        content = orjson.loads(line)
        at = datetime.fromtimestamp(content["received"], UTC)
        commented = [review for review in content.get("reviews", ()) if review.get("comment") is not None]
        covered = [rule.covers(content["source"], review["prediction_id"], at) for review in commented]
        damaged = False
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError):
        sources = SOURCE.findall(line)
        covered, damaged = [not sources or rule.source.encode() in sources] * len(spans), True
    # The reviews stand last in a line: what comes before may be the label of a prediction with the id `comment`.
    places = zip(spans[len(spans) - len(covered) :], covered, strict=True)
    return [span for span, is_covered in places if is_covered and line[slice(*span)].strip(b" ")], damaged
