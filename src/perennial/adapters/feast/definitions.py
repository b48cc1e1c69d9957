"""What the features of a service mean, as one digest each, kept beside what was published.

Comparing it needs no Feast: an emergency rollback cannot wait for that import.
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
    """Digests over Feast's own description of a feature: its type, its view's entities, times and ttl, and for
    one computed on demand the code. Where files lie and what describes them in words is left out.

    Args:
        objects: what is published: feature views, on-demand views and services.
    """
    from feast import FeatureService, FeatureView
    from feast.on_demand_feature_view import OnDemandFeatureView

    objects = list(objects)
    views = {one.name: one for one in objects if isinstance(one, FeatureView | OnDemandFeatureView)}
    return {
        one.name: _of_service(one, views) for one in objects if isinstance(one, FeatureService)
    }  # fmt: skip


def _of_service(service: FeatureService, views: Mapping[str, Any]) -> dict[str, str]:
    return {
        field.name: _digest({"type": str(field.dtype), "view": _meaning(views[projection.name], views)})
        for projection in service.feature_view_projections
        for field in projection.features
    }


def _meaning(view: Any, views: Mapping[str, Any]) -> dict[str, Any]:
    """Of the view that a feature comes from; for one computed on demand, of its sources too."""
    from feast import FeatureView

    if isinstance(view, FeatureView):
        source = view.batch_source
        return {
            "name": view.name,
            "keys": list(view.join_keys),
            "ttl": str(view.ttl),
            "times": [source.timestamp_field, source.created_timestamp_column],
        }
    stored = sorted(view.source_feature_view_projections.values(), key=lambda one: one.name)
    requests = sorted(view.source_request_sources.values(), key=lambda one: one.name)
    return {
        "name": view.name,
        "code": view.feature_transformation.udf_string,
        "sources": [_meaning(views[one.name], views) for one in stored],
        "reads": [[field.name, str(field.dtype)] for one in stored for field in one.features],
        "request": [[field.name, str(field.dtype)] for one in requests for field in one.schema],
    }


def _digest(meaning: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def content(found: Definitions) -> bytes:
    """The file beside the publication."""
    return json.dumps(found, indent=1, sort_keys=True).encode() + b"\n"


def published(folder: Path, service: str) -> dict[str, str]:
    """feature -> digest of the service's definitions; empty when it was never published here.

    Raises:
        FeaturesUnavailable: the file cannot be read.
    """
    try:
        return json.loads((folder / FILE).read_bytes()).get(service, {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise FeaturesUnavailable(
            f"{folder / FILE} cannot be read: {error}", hint="run `perennial features publish`"
        ) from error
