"""Tiny versions with complete manifests, and a registry that hands out their files."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from tiny_models import WIDTH, tiny_version

from perennial.core.training.registration import VersionRecord
from perennial.core.version import VersionRef
from perennial.errors import UnknownVersion

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
REST = {"target": "failed", "architecture": "sum/1", "framework": "numpy", "parameters": 1, "bytes": 1}


def tiny_answers(digest: str, bias: float, begin: datetime, count: int) -> pd.DataFrame:
    """Return a prediction log: a minute apart, two rows a request, answered by a version with this bias."""
    names = [f"f{number}" for number in range(WIDTH)]
    values = np.random.default_rng(3).normal(0.5, 1.0, (count, WIDTH)).astype(np.float32).astype(float)
    score = 1.0 / (1.0 + np.exp(-(values.sum(axis=1) + bias)))
    return pd.DataFrame(
        {
            "prediction_id": [f"p{place}" for place in range(count)],
            "request_id": [f"q{place // 2}" for place in range(count)],
            "at": pd.date_range(begin, periods=count, freq="min").as_unit("ns"),
            "version": "1.1.0",
            "digest": digest,
            "shadow": False,
            "entity": "{}",
            "context": "{}",
            "score": score,
            "decision": (score >= 0.5).astype(int),
            "names": json.dumps(names),
            "task": "",
            "answer": None,
            **{f"feature:{name}": values[:, place] for place, name in enumerate(names)},
        }
    )


class VersionsWithFiles:
    """A registry and its labels: versions that were added, by number or alias."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}
        self._records: dict[str, VersionRecord] = {}
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def add(self, model: str, version: str, bias: float, created: datetime = EPOCH) -> VersionRef:
        """Add a version that answers sigmoid(sum of features + bias)."""
        columns = tuple(f"view:f{number}" for number in range(WIDTH))
        ref, files = tiny_version(self._folder, model, version, bias, "service/1", columns=columns)
        manifest = json.loads((files / "manifest.json").read_text())
        (files / "manifest.json").write_text(json.dumps(manifest | REST))
        self._files[version] = files
        self._records[version] = VersionRecord(ref=ref, run_id=version, created=created)
        return ref

    def find(self, model: str, which: str) -> VersionRecord | None:
        return self._records.get(self.aliases.get(which, which))

    def fetch(self, ref: VersionRef, into: Path) -> Path:
        if ref.version not in self._files:
            raise UnknownVersion(f"{ref} was deleted", hint="")
        shutil.copytree(self._files[ref.version], into)
        return into

    def forget(self, version: str) -> None:
        """Lose the files of a version."""
        del self._files[version]

    def tag(self, model: str, key: str, tags: dict[str, str]) -> None:
        self.tags.setdefault(key, {}).update(tags)
