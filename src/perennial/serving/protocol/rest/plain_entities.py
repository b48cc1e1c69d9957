"""The common body of a request by entity, read in one step: texts as keys of entities, and request values.

The decoder checks the types while it parses. Whatever is not exactly of this form, right or wrong, is left to
`strict_json.parse` and `entities.parse`, which also say what is wrong.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from perennial import limits
from perennial.serving.entities import EntityRequest, context_of
from perennial.serving.manifest import ServedManifest

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.TEXT)]


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    entities: Annotated[list[dict[str, Key]], msgspec.Meta(min_length=1, max_length=limits.ROWS)]
    context: dict[str, str | int | float] | UnsetType = UNSET
    allow_unknown: bool | UnsetType = UNSET


_DECODE = msgspec.json.Decoder(_Body).decode
_OBJECTS = limits.ROWS + 2


def read_plain(body: bytes, manifest: ServedManifest) -> EntityRequest | None:
    """Return the request of a body of the common form; None for any other body, and for other models.

    Raises:
        MalformedInput: a request value is missing, unknown or wrong.
    """
    # So that no more is decoded than may be asked for.
    if manifest.feature_service is None or manifest.sent or body.count(b"{") > _OBJECTS:
        return None
    try:
        given = _DECODE(body)
    except (msgspec.MsgspecError, ValueError):  # ValueError: no UTF-8
        return None
    entities, keys = given.entities, set(manifest.entities)
    for entity in entities:
        if entity.keys() != keys:
            return None
    # A key that is there twice has more quotes than are left of it.
    texts = 1 + 2 * len(keys) * len(entities)
    context: dict[str, str | int | float] = {}
    if given.context is not UNSET:
        context = given.context
        texts += 1 + len(context) + [*map(type, context.values())].count(str)
    allow_unknown = given.allow_unknown is True
    if given.allow_unknown is not UNSET:
        texts += 1
    if body.count(b'"') != 2 * texts:
        return None
    return EntityRequest(entities, entities, context_of(context, manifest), allow_unknown, False)
