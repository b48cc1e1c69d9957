"""Envoy's bootstrap configuration as a dictionary in Envoy's JSON form.

The public listener is in `listener`; clusters and routes, which change, are in `clusters` and `routes`. Nothing here
does IO.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perennial import limits

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
class InternalTls:
    """TLS from Envoy to the model servers.

    Attributes:
        folder: of Envoy's certificate, with `tls.crt`, `tls.key` and `ca.crt`.
        servers: name of the kind URI that the certificate of a model server has.
    """

    folder: Path
    servers: str


@dataclass(frozen=True)
class Layout:
    """Addresses of Envoy and of the servers of each pool.

    Attributes:
        listen: the only address that clients can reach.
        pools: addresses of the servers for REST.
        grpc: addresses of the same servers, in the same order, for gRPC.
        admin: Unix socket of the admin interface, for its owner only.
        secret: text that Envoy sends to the model servers in a header.
        client_rate: requests per second of a client's address.
        tls: files of the certificate chain and the private key; None: no TLS.
        jwt: issuer, audience and JWKS file of the JWTs of clients; None: no JWTs.
        inside: TLS to the model servers; None: without.
    """

    listen: Address
    admin: Path
    pools: Mapping[str, Sequence[Address]]
    grpc: Mapping[str, Sequence[Address]]
    secret: str = field(default="", repr=False)
    client_rate: int = 5000
    tls: tuple[Path, Path] | None = None
    jwt: tuple[str, str, Path] | None = None
    inside: InternalTls | None = None


def bootstrap(layout: Layout, folder: Path) -> Json:
    """Return the bootstrap configuration; Envoy reads everything else from the folders that it watches."""
    return {
        "node": {"id": "perennial", "cluster": "perennial"},
        "admin": {"address": {"pipe": {"path": str(layout.admin), "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": watched(folder / "lds" / "listeners.json"),
            "cds_config": watched(folder / "cds" / "clusters.json"),
        },
        "overload_manager": _overload(),
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": list(BUCKETS_MS)},
            ]
        },
    }


def _overload() -> Json:
    """Return limits of connections and memory: the largest requests end first, then new requests are refused.

    Envoy has no limit of connections per address. When connections run short, unused ones end within seconds and
    the others after their request, so that nobody holds them.
    """
    monitors = "extensions.resource_monitors"
    connections = {
        "@type": f"{TYPE}{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": limits.CONNECTIONS,
    }
    heap = {
        "@type": f"{TYPE}{monitors}.fixed_heap.v3.FixedHeapConfig",
        "max_heap_size_bytes": limits.HEAP_BYTES,
    }
    name = "envoy.resource_monitors.fixed_heap"
    opened = "envoy.resource_monitors.global_downstream_max_connections"
    timers = {
        "@type": f"{TYPE}config.overload.v3.ScaleTimersOverloadActionConfig",
        "timer_scale_factors": [{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "1s"}],
    }
    scarce = {"scaled": {"scaling_threshold": 0.5, "saturation_threshold": 0.9}}
    largest = {"scaled": {"scaling_threshold": 0.8, "saturation_threshold": 0.95}}
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": opened, "typed_config": connections},
            {"name": name, "typed_config": heap},
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.reduce_timeouts",
                "triggers": [{"name": opened, **scarce}],
                "typed_config": timers,
            },
            {
                "name": "envoy.overload_actions.disable_http_keepalive",
                "triggers": [{"name": opened, "threshold": {"value": 0.9}}],
            },
            {
                "name": "envoy.overload_actions.reset_high_memory_stream",
                "triggers": [{"name": name, **largest}],
            },
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [{"name": name, "threshold": {"value": 0.95}}],
            },
        ],
        # Requests of 64 KiB and more are accounted for, so that the largest can be named.
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 16},
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


def address(address: Address) -> Json:
    return {"socket_address": {"address": address[0], "port_value": address[1]}}
