"""Settings -> adapters. The only place that knows which adapter stands behind a port.

A name is looked up in its module when it is first used: a command pays for the parts that it needs, and an
emergency rollback has less than a second for all of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_MODULES: dict[str, tuple[str, ...]] = {
    "accounts": ("tokens",),
    "keys": ("new_key", "public_key", "signature_holds", "signer"),
    "monitoring": ("airflow_password", "drift", "experiment_gauges", "gauges", "scheduler"),
    "emergency": ("pool", "quick_reads", "rollback_ports", "router"),
    "notifying": ("notifier", "notify_ports"),
    "releasing": (
        "checks",
        "feedback_inbox",
        "guard_ports",
        "prediction_log",
        "release_ports",
        "settle_ports",
        "spec_digest",
        "store",
        "terms",
    ),
    "training": (
        "data_store",
        "dataset_files",
        "entrypoint",
        "explain",
        "features",
        "figures",
        "history_store",
        "model_class",
        "provenance",
        "references",
        "scorer",
        "tracker",
        "tuner",
        "validator",
    ),
    "versions": (
        "ab_report",
        "bom_tools",
        "document_ports",
        "labels",
        "lifecycle_ports",
        "registry",
        "reproduce_ports",
        "version_search",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)

if TYPE_CHECKING:
    from perennial.wiring.accounts import *  # noqa: F403
    from perennial.wiring.emergency import *  # noqa: F403
    from perennial.wiring.keys import *  # noqa: F403
    from perennial.wiring.monitoring import *  # noqa: F403
    from perennial.wiring.notifying import *  # noqa: F403
    from perennial.wiring.releasing import *  # noqa: F403
    from perennial.wiring.training import *  # noqa: F403
    from perennial.wiring.versions import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found
