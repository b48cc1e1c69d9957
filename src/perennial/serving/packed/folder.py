"""The folder of the versions in a bento: a serving folder, and the public keys that it trusts."""

from __future__ import annotations

import os
from pathlib import Path

from perennial.errors import SettingsError

VERSIONS = "versions"
"""Name of the folder beside `service.py`."""
TRUSTED = "trusted"
"""Name of the folder in it with the public keys."""
POOL = "stable"


def packed_versions(beside: Path) -> Path | None:
    """Return the folder of the versions of a bento; None in a checkout and an installed package.

    Raises:
        SettingsError: nothing says where the server writes what it answers; a bento is no place for that.
    """
    folder = beside / VERSIONS
    if not folder.is_dir():
        return None
    if not os.environ.get("PERENNIAL_HOME", "").startswith("/"):
        raise SettingsError(
            "PERENNIAL_HOME is no absolute path: a bento needs a folder for its prediction log and secret",
            hint="PERENNIAL_HOME=/var/lib/perennial, on a disk that outlives the process",
        )
    return folder
