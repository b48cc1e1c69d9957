"""The stored labels in memory."""

from __future__ import annotations


class Labels:
    """The stored labels of the source `ci`."""

    def __init__(self) -> None:
        self.kept: dict[str, float] = {}

    def put(self, labels, received, source) -> int:
        self.kept |= labels
        return len(labels)

    def labels(self, since=None):
        return {"ci": self.kept}
