"""JSON of clients: no duplicate keys, no deep nesting."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import orjson

from perennial import limits
from perennial.errors import MalformedInput

_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


def parse(body: bytes) -> Any:
    """Parse a body as JSON.

    Raises:
        MalformedInput: the body is not JSON in UTF-8, has a key twice in an object, is nested too deeply, or has too
            many lists and objects, of which a million take the parser a second.
    """
    if _parts(body) > limits.JSON_PARTS and _parts(_TEXT.sub(b"", body)) > limits.JSON_PARTS:
        raise MalformedInput(
            f"the body has more than {limits.JSON_PARTS} lists and objects", hint="send fewer rows"
        )
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"the body is not JSON: {error}", hint="send application/json") from error
    texts = _texts(content)
    if texts is None:
        raise MalformedInput(
            f"the body is nested more than {limits.JSON_DEPTH} levels deep", hint="send a flatter body"
        )
    # The parser keeps the last value of a key and drops the others, whose quotes are then too many.
    if body.count(b'"') != 2 * texts:
        json.loads(body, object_pairs_hook=_different, parse_int=float)
    return content


def _parts(body: bytes) -> int:
    return body.count(b"{") + body.count(b"[")


def _texts(content: Any) -> int | None:
    """Return the number of keys and texts in a value; None where it is nested too deeply."""
    level, texts = [[content]], 0
    for _ in range(limits.JSON_DEPTH + 2):
        below = []
        for children in level:
            # The set of types is computed faster than a check of each of thousands of numbers.
            kinds = set(map(type, children))
            if str in kinds:
                texts += [type(child) for child in children].count(str)
            if list in kinds:
                below += [child for child in children if type(child) is list]
            if dict in kinds:
                objects = [child for child in children if type(child) is dict]
                texts += sum(map(len, objects))
                below += [child.values() for child in objects]
        if not below:
            return texts
        level = below
    return None


def _different(pairs: list[tuple[str, Any]]) -> None:
    """Check the keys of an object."""
    if len(dict(pairs)) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise MalformedInput(f"the body has the key {twice[:80]!r} twice in an object", hint="send it once")
