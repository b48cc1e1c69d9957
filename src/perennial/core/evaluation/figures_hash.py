"""Hash of the metrics of a run that the gate judges, stored as a tag of the version.

MLflow accepts a changed metric at any time and shows the last value. The tag cannot be changed
(`core.governance.registry_rules`), so metrics logged after the registration are detected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

TAG = "figures_hash"
PARITY, PARITY_SHARE = "parity.max_abs", "parity.share"
JUDGED = ("holdout.", "champion.", "delta.", "slice.", "parity.", "variant.")
"""Prefixes of the metrics that the gate reads or shows to the approver."""


def figures_hash(metrics: Mapping[str, float]) -> str:
    """Return the SHA-256 (hex) of the judged metrics, to twelve digits: databases may round further digits."""
    judged = sorted((name, float(value)) for name, value in metrics.items() if name.startswith(JUDGED))
    # Adding zero turns -0.0 into 0.0, as some databases do.
    lines = "".join(f"{name} {value + 0.0:.12g}\n" for name, value in judged)
    return hashlib.sha256(lines.encode()).hexdigest()
