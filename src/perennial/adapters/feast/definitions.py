"""Digests of the published feature definitions, in a file beside the registry of Feast.

Reading them needs no import of Feast, for which an emergency rollback has no time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.errors import FeaturesUnavailable

if TYPE_CHECKING:
    from feast import FeatureService

FILE = "definitions.json"

Definitions = Mapping[str, Mapping[str, str]]
"""Feature service -> feature -> digest of its definition."""


def of_services(objects: Iterable[Any]) -> dict[str, dict[str, str]]:
    """Return the digests of the features of each service.

    A digest covers the type of the feature and the entities, times and ttl of its view; for an on-demand
    feature, the code too. File paths and descriptions are left out.

    Args:
        objects: published feature views, on-demand views and services.
    """
    from feast import FeatureService, FeatureView
    from feast.on_demand_feature_view import OnDemandFeatureView

    objects = list(objects)
    views = {view.name: view for view in objects if isinstance(view, FeatureView | OnDemandFeatureView)}
    return {
        service.name: _feature_digests(service, views)
        for service in objects
        if isinstance(service, FeatureService)
    }


def _feature_digests(service: FeatureService, views: Mapping[str, Any]) -> dict[str, str]:
    return {
        field.name: _digest(
            {"type": str(field.dtype), **field.tags, "view": _meaning(views[projection.name], views)}
        )
        for projection in service.feature_view_projections
        for field in projection.features
    }


def _meaning(view: Any, views: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a view that a digest covers; for an on-demand view, those of its sources too."""
    from feast import FeatureView

    if isinstance(view, FeatureView):
        source = view.batch_source
        return {
            "name": view.name,
            "keys": list(view.join_keys),
            "ttl": str(view.ttl),
            "times": [source.timestamp_field, source.created_timestamp_column],
            **({"windows": view.tags["windows"]} if "windows" in view.tags else {}),
        }
    stored = sorted(view.source_feature_view_projections.values(), key=lambda source: source.name)
    requests = sorted(view.source_request_sources.values(), key=lambda source: source.name)
    return {
        "name": view.name,
        "code": view.feature_transformation.udf_string,
        "sources": [_meaning(views[source.name], views) for source in stored],
        "reads": [[field.name, str(field.dtype)] for source in stored for field in source.features],
        "request": [[field.name, str(field.dtype)] for source in requests for field in source.schema],
    }


def _digest(meaning: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def content(definitions: Definitions) -> bytes:
    """Return the content of the file."""
    return json.dumps(definitions, indent=1, sort_keys=True).encode() + b"\n"


def published(folder: Path, service: str) -> dict[str, str]:
    """Return feature -> digest for a service; empty when it is not published.

    Raises:
        FeaturesUnavailable: the file cannot be read.
    """
    try:
        definitions: dict[str, dict[str, str]] = json.loads((folder / FILE).read_bytes())
        return definitions.get(service, {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise FeaturesUnavailable(
            f"{folder / FILE} cannot be read: {error}", hint="run `perennial features publish`"
        ) from error
