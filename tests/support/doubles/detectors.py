"""The state of the monitor's detectors in memory."""

from __future__ import annotations

from perennial.core.monitoring.harm_detector import DetectorState


class MemoryDetectors:
    """The DetectorStore port."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[int, DetectorState]] = {}

    def load(self, model: str) -> tuple[int, DetectorState] | None:
        return self.kept.get(model)

    def save(self, model: str, state: DetectorState, expected: int | None) -> bool:
        known = self.kept.get(model)
        if (None if known is None else known[0]) != expected:
            return False
        self.kept[model] = (0 if expected is None else expected + 1, state)
        return True
