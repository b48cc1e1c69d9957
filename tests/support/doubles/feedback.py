"""The stored labels in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class AskedWhole:
    """Answers about single predictions of a store that has all labels, without an order of their changes."""

    def label_changes(self, model, after):
        return 0, ()

    def labels_of(self, predictions):
        return only(self.labels(), predictions)

    def reviewed_of(self, predictions):
        return only(self.reviewed(), predictions)


class Labels(AskedWhole):
    """The stored labels of the source `ci`."""

    def __init__(self) -> None:
        self.kept: dict[str, float] = {}

    def put(self, labels, received, source, models=None) -> int:
        self.kept |= labels
        return len(labels)

    def labels(self, since=None):
        return {"ci": self.kept}


def only(
    values: Mapping[str, Mapping[str, float]], predictions: Collection[str]
) -> dict[str, dict[str, float]]:
    """Return the values of these predictions."""
    names = set(predictions)
    return {
        source: {name: value for name, value in named.items() if name in names}
        for source, named in values.items()
    }
