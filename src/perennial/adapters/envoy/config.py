"""Envoy's static configuration, bootstrap and listener, as dictionaries in Envoy's JSON form.

Clusters and routes, which change, are in `clusters` and `routes`. Nothing here does IO.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Address = tuple[str, int]

LISTENER = ROUTES = "perennial"

# Envoy rounds latencies down to whole ms. The bounds lie between them, so that no latency falls on a bound, and are
# fine enough for a p95 between 1 and 1000 ms.
BUCKETS_MS = tuple(
    whole - 0.5
    for whole in (
        *range(1, 21), *range(22, 41, 2), *range(45, 101, 5), *range(110, 201, 10), *range(225, 501, 25),
        *range(550, 1001, 50), 1500, 2000, 5000, 10_000, 30_000,
    )
)  # fmt: skip

TYPE = "type.googleapis.com/envoy."


@dataclass(frozen=True)
class Layout:
    """Addresses of Envoy and of the servers of each pool."""

    listen: Address
    admin: Address
    pools: Mapping[str, Sequence[Address]]


def bootstrap(layout: Layout, folder: Path) -> Json:
    """Return the bootstrap configuration; Envoy reads everything else from the folders that it watches."""
    return {
        "node": {"id": "perennial", "cluster": "perennial"},
        "admin": {"address": address(layout.admin)},
        "dynamic_resources": {
            "lds_config": watched(folder / "lds" / "listeners.json"),
            "cds_config": watched(folder / "cds" / "clusters.json"),
        },
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": list(BUCKETS_MS)},
            ]
        },
    }


def watched(path: Path) -> Json:
    """Return a watched file; Envoy reads it again after a rename in its folder."""
    return {
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
        "resource_api_version": "V3",
    }


def discovery(version: str, resources: Sequence[Json]) -> bytes:
    """Return the content of a watched file."""
    body = {"version_info": version, "resources": list(resources)}
    return json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"


def listeners(layout: Layout, folder: Path) -> list[Json]:
    connection_manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "merge_slashes": True,
        "server_header_transformation": "PASS_THROUGH",
        "rds": {"route_config_name": ROUTES, "config_source": watched(folder / "rds" / "routes.json")},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": connection_manager,
    }
    return [
        {
            "@type": f"{TYPE}config.listener.v3.Listener",
            "name": LISTENER,
            "address": address(layout.listen),
            "filter_chains": [{"filters": [manager]}],
        }
    ]


def address(address: Address) -> Json:
    return {"socket_address": {"address": address[0], "port_value": address[1]}}
