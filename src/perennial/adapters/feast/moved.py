"""Paths of tables in Feast's registry, after the folder of the features was moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from feast.protos.feast.core.Registry_pb2 import Registry

from perennial.files import write_bytes


def move(path: Path, old: Path, new: Path) -> None:
    """Replace the folder of every source; Feast's history of definitions keeps the old one, and reads nothing there.

    Args:
        path: file of the registry.
        old, new: folders of the features.
    """
    registry = Registry()
    registry.ParseFromString(path.read_bytes())
    for source in _sources(registry):
        address = source.file_options.uri
        if address.startswith(f"{old}/"):
            source.file_options.uri = f"{new}{address.removeprefix(str(old))}"
    write_bytes(path, registry.SerializeToString())


def _sources(registry: Any) -> Iterator[Any]:
    yield from registry.data_sources
    for view in registry.feature_views:
        yield view.spec.batch_source
    for view in registry.on_demand_feature_views:
        for source in view.spec.sources.values():
            if source.HasField("feature_view_projection"):
                yield source.feature_view_projection.batch_source
    for service in registry.feature_services:
        for projection in service.spec.features:
            yield projection.batch_source
