"""Views of a feature service, as their values are read: those of the online store, and on-demand views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feast import FeatureView
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType

from perennial.serving.online.packed import PackedOnlineStore, Stored
from perennial.serving.online.packing import KeyWriter, Unpacker, plain

Row = tuple[int | None, Sequence[Any]]
"""When an entity's values were true, in unix seconds (0 where the view has no ttl), and the values in the order of
`StoredView.reads`. No time for an entity that is not stored, or not with all features of the service."""


@dataclass(frozen=True)
class StoredView:
    """A view of the online store."""

    view: FeatureView
    keys: tuple[tuple[str, ValueType], ...]
    """Join keys with their types."""
    reads: tuple[str, ...]
    """Features to read: those of the service, and what its on-demand views need."""
    answers: tuple[str, ...]
    """Features of the service."""
    ttl: float | None
    """Seconds for which a value is known."""

    write_keys: KeyWriter
    unpack: Unpacker

    def row(self, at: datetime | None, values: Mapping[str, Value] | None) -> Row:
        """Return the row of an entity as Feast's stores read it. Redis answers an unknown one with time 0."""
        if at is None or values is None or at.timestamp() == 0:
            return None, (None,) * len(self.reads)
        row = [plain(values[name]) if name in values else None for name in self.reads]
        return int(at.timestamp()) if all(name in values for name in self.answers) else None, row

    def packed_row(self, stored: Stored, store: PackedOnlineStore) -> Row:
        """Return the row of an entity as a packed store reads it."""
        lacks, row = self.unpack(stored[1])
        if lacks:
            return None, row
        return 0 if self.ttl is None else int(store.moment(stored[0]).timestamp()), row


@dataclass(frozen=True)
class DerivedView:
    """An on-demand view."""

    function: Callable[[dict[str, list[Any]]], dict[str, list[Any]]]
    requested: frozenset[str]
    """Request values that it takes."""
    stored: tuple[tuple[str, str], ...]
    """Features that it takes from stored views, and their names with that of the view."""
    answers: tuple[tuple[str, ValueType], ...]
