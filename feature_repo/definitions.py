"""Feast objects of all views and models, for Feast's own command line, which collects them from this file.

The views are in configs/features/*.yaml, on-demand views in the other files of this folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from perennial import catalog
from perennial.adapters.feast.objects import definitions

_repo = Path(__file__).resolve().parent
_folder = Path(os.environ["PERENNIAL_FEAST_DIR"]) / "offline"
globals().update(
    {f"{type(item).__name__}_{item.name}": item for item in definitions(_repo, _folder, catalog.specs())}
)
