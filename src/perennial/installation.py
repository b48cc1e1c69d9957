"""Locate the package, the files that come with it beside its modules, and this machine."""

from __future__ import annotations

import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
IS_CHECKOUT = (HERE / "feature_repo").is_dir()
SHIPPED = HERE if IS_CHECKOUT else Path(sysconfig.get_path("data")) / "share" / "perennial"
"""Folder of dags, feature_repo, bentos, tested pins and the catalogue of data sets."""

LOOPBACK = "127.0.0.1"
"""Address of everything that only this machine may reach: model servers, monitor."""
LOOPBACKS = (LOOPBACK, "localhost", "::1")
"""Addresses that only this machine reaches."""


def default_project() -> Path:
    """Return the checkout, or the current folder where the package was installed by itself."""
    return HERE if IS_CHECKOUT else Path.cwd()
