"""Prometheus' configuration: what it reads, how often, and what it keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perennial.adapters.alerting.recording import bound
from perennial.core.release.traffic import PoolName
from perennial.core.spec import ModelSpec

Json = dict[str, Any]
ENVOY_PATH, PARTS_PATH = "/envoy", "/parts"
"""Paths of the monitor's page with Envoy's statistics, and with the health of MLflow and Airflow."""
OF_MODEL, OWN = r"(.+)-(stable|canary|shadow)(_grpc)?", r"perennial-(stable|about)(_grpc)?"
"""Names of Envoy's clusters in its statistics: those of a model, and those of requests about no model by name."""
KEPT_BOUNDS = (
    "0.5", "1.5", "2.5", "4.5", "9.5", "19.5", "49.5", "99.5", "199.5", "249.5", "499.5", "999.5", "1999.5", "4999.5",
    "9999.5", "29999.5",
)  # fmt: skip
"""Bounds of latencies (ms) that are kept beside the promised ones: all of Envoy's would be 74 series a cluster."""


@dataclass(frozen=True)
class Timing:
    """Intervals between a gauge's change and the message about it.

    Attributes:
        monitor: between two scrapes of the monitor, and evaluations of the alerts about its figures.
        others: the same for everything else.
        windows: between two evaluations of the recorded shares and thresholds.
        group_wait: from the first alert of a group to its message.
        group_interval: least time between two messages of a group that changed.
        repeat: time after which a message that still holds is sent again.
    """

    monitor: str = "5s"
    others: str = "15s"
    windows: str = "30s"
    group_wait: str = "2s"
    group_interval: str = "1m"
    repeat: str = "4h"


@dataclass(frozen=True)
class Addresses:
    """Addresses as Prometheus and Alertmanager reach them.

    Attributes:
        monitor: host:port of the monitor's page.
        servers: host:port of the model servers by pool.
        prometheus, alertmanager: host:port of the two themselves.
        receiver: URL to which Alertmanager posts.
        certificates: folder of Prometheus' certificate where the plant has TLS inside; None: without.
    """

    monitor: str
    servers: dict[PoolName, tuple[str, ...]]
    prometheus: str
    alertmanager: str
    receiver: str
    certificates: str | None = None


@dataclass(frozen=True)
class SecretFiles:
    """Files of bearer tokens as Prometheus and Alertmanager see them.

    Attributes:
        internal: the installation's own secret, for scrapes.
        alerts: that of the receiver of messages.
    """

    internal: str
    alerts: str


def configuration(
    specs: Sequence[ModelSpec],
    addresses: Addresses,
    secrets: SecretFiles,
    timing: Timing,
    rules: Sequence[str],
) -> Json:
    """Return the content of `prometheus.yaml`; `rules` are paths beside it."""
    guarded: Json = {"authorization": {"credentials_file": secrets.internal}}
    if addresses.certificates is not None:
        folder = addresses.certificates
        files = {"cert_file": "tls.crt", "key_file": "tls.key", "ca_file": "ca.crt"}
        guarded |= {"scheme": "https", "tls_config": {key: f"{folder}/{name}" for key, name in files.items()}}
    monitor = [{"targets": [addresses.monitor]}]
    return {
        "global": {"scrape_interval": timing.others, "evaluation_interval": timing.others},
        "rule_files": list(rules),
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [addresses.alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": "monitor", "scrape_interval": timing.monitor, **guarded, "static_configs": monitor},
            {"job_name": "parts", "metrics_path": PARTS_PATH, **guarded, "static_configs": monitor},
            {
                "job_name": "envoy",
                "metrics_path": ENVOY_PATH,
                **guarded,
                "static_configs": monitor,
                "metric_relabel_configs": _relabelled(specs),
            },
            {
                "job_name": "servers",
                **guarded,
                "static_configs": [
                    {"targets": list(servers), "labels": {"server_pool": pool.value}}
                    for pool, servers in addresses.servers.items()
                ],
            },
            {"job_name": "prometheus", "static_configs": [{"targets": [addresses.prometheus]}]},
            {"job_name": "alertmanager", "static_configs": [{"targets": [addresses.alertmanager]}]},
        ],
    }  # fmt: skip


def _relabelled(specs: Sequence[ModelSpec]) -> list[Json]:
    """Return what makes model and pool of a cluster's name, and drops the series that nothing reads."""
    kept = sorted({*KEPT_BOUNDS, *map(bound, specs)}, key=float)
    source, bounds = ["envoy_cluster_name"], "|".join(text.replace(".", r"\.") for text in kept)
    return [
        {"source_labels": source, "regex": OWN, "action": "drop"},
        {"source_labels": ["__name__", "le"], "regex": rf"envoy_cluster_upstream_rq_time_bucket;(?:{bounds}|\+Inf)",
         "target_label": "__tmp_kept", "replacement": "yes"},
        {"source_labels": ["__name__", "__tmp_kept"], "regex": "envoy_cluster_upstream_rq_time_bucket;",
         "action": "drop"},
        *(
            {"source_labels": source, "regex": OF_MODEL, "target_label": label, "replacement": replacement}
            for label, replacement in (("model_name", "$1"), ("pool", "$2"), ("transport", "rest$3"))
        ),
        {"regex": "__tmp_kept|envoy_cluster_name", "action": "labeldrop"},
    ]  # fmt: skip
