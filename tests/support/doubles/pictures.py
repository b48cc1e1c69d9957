"""Fake of Figures in an evaluation: draws nothing. Real pictures take half of the time of a small evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perennial.core.tasks import Scored
from perennial.core.training.attribution import GlobalAttributions


class NoPictures:
    def evaluation(self, folder: Path, title: str, scores: Mapping[str, Scored]) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        return []

    def attributions(self, folder: Path, title: str, attributions: GlobalAttributions) -> Path:
        return folder / "attributions.png"
