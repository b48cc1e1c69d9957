"""One hash over the figures of a run that the gate judges, given with the version.

A run stays open to whoever may edit runs: MLflow takes a metric anew at any time, and shows the last one. The
tag cannot be changed (`core.governance.registry_rules`), so that figures logged after the registration are noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

TAG = "figures_hash"
PARITY = "parity.max_abs"
JUDGED = ("holdout.", "champion.", "delta.", "slice.", "parity.")
"""First parts of the names of metrics that the gate reads, or shows to whoever approves."""


def figures_hash(metrics: Mapping[str, float]) -> str:
    """SHA-256 (hex) over the judged metrics by name, to twelve digits: a database may round the last ones."""
    judged = sorted((name, float(value)) for name, value in metrics.items() if name.startswith(JUDGED))
    # Adding zero makes one of both zeros, as some databases do.
    lines = "".join(f"{name} {value + 0.0:.12g}\n" for name, value in judged)
    return hashlib.sha256(lines.encode()).hexdigest()
