"""Fakes of Registry and Labels over the fake tracker."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from signing import TRUSTED

from doubles.tracking import MemoryTracker
from perennial.core.training.registration import NewVersion, VersionRecord
from perennial.core.version import Lifecycle, VersionRef, next_version
from perennial.errors import ModelFileError, UnknownVersion
from perennial.serving.signed_files import read_signed, write_contents

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Of the first version; each later one is a second younger."""


class MemoryRegistry:
    """Versions in lists; files come from the runs of the tracker."""

    def __init__(self, tracker: MemoryTracker) -> None:
        self._tracker = tracker
        self._versions: dict[str, list[VersionRecord]] = {}
        self._aliases: dict[tuple[str, str], str] = {}

    def register(self, new: NewVersion) -> VersionRef:
        self._tracker.reach()
        known = self._versions.setdefault(new.model, [])
        for one in known:
            if one.run_id == new.run_id:
                if one.ref.digest != new.digest:
                    raise ModelFileError(f"run {new.run_id} is registered with another digest")
                return one.ref
        ref = VersionRef(
            model=new.model,
            version=str(next_version([one.ref.version for one in known], new.change, new.patch_of)),
            key=str(len(known) + 1),
            digest=new.digest,
            capsule=new.capsule,
        )
        tags = {
            **new.tags,
            "semantic_version": ref.version,
            "digest": ref.digest,
            "capsule": ref.capsule,
            "lifecycle": Lifecycle.STAGING.value,
        }
        created = EPOCH + timedelta(seconds=len(known))
        known.append(VersionRecord(ref=ref, run_id=new.run_id, created=created, tags=tags))
        if new.candidate:
            self._aliases[new.model, "candidate"] = ref.key
        return ref

    def find(self, model: str, which: str) -> VersionRecord | None:
        self._tracker.reach()
        if which.startswith("key:"):
            return self._at(model, which.removeprefix("key:"))
        if which[:1].isdigit():
            return next((one for one in self.versions(model) if one.ref.version == which), None)
        key = self._aliases.get((model, which))
        return None if key is None else self._at(model, key)

    def versions(self, model: str) -> list[VersionRecord]:
        self._tracker.reach()
        return [self._complete(one) for one in self._versions.get(model, [])]

    def fetch(self, ref: VersionRef, into: Path) -> Path:
        record = self._require(ref.model, ref.key)
        with TemporaryDirectory() as folder:
            write_contents(Path(folder), self._tracker.runs[record.run_id].served)
            write_contents(into, read_signed(Path(folder), ref.model, ref.digest, TRUSTED))
        return into

    def alias(self, model: str, alias: str, key: str | None) -> None:
        self._tracker.reach()
        if key is None:
            self._aliases.pop((model, alias), None)
            return
        self._require(model, key)
        self._aliases[model, alias] = key

    def tag(self, model: str, key: str, tags: Mapping[str, str]) -> None:
        self._require(model, key)
        known = self._versions[model]
        place = int(key) - 1
        known[place] = known[place].model_copy(update={"tags": {**known[place].tags, **tags}})

    def _require(self, model: str, key: str) -> VersionRecord:
        self._tracker.reach()
        found = self._at(model, key)
        if found is None:
            raise UnknownVersion(
                f"{model} has no version with key {key}", hint=f"perennial models show {model}"
            )
        return found

    def _at(self, model: str, key: str) -> VersionRecord | None:
        return next((one for one in self.versions(model) if one.ref.key == key), None)

    def _complete(self, record: VersionRecord) -> VersionRecord:
        """Aliases and metrics as they are now: both change after the registration."""
        aliases = [
            name
            for (model, name), key in self._aliases.items()
            if (model, key) == (record.ref.model, record.ref.key)
        ]
        run = self._tracker.runs.get(record.run_id)
        metrics = dict(run.metrics) if run else {}
        return record.model_copy(update={"aliases": tuple(sorted(aliases)), "metrics": metrics})
