"""What one model server holds, and its way to the desired state of its pool."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from perennial.core.release.traffic import PoolName
from perennial.errors import MalformedInput, PerennialError, UnknownModel, UnknownVersion
from perennial.serving import desired_state as desired
from perennial.serving import headers, session
from perennial.serving.desired_state import DesiredState
from perennial.serving.session import LoadedVersion

Key = tuple[str, str]
"""(model, digest)"""


DISK_EVERY = 10
"""Looks at the desired state between two at the disk."""


class NotLoaded(UnknownVersion):
    """The version that the router asked for is not loaded here: 503, the router tries elsewhere."""


@dataclass(frozen=True)
class LoadedVersions:
    """One immutable picture of the server; replaced as a whole, so requests need no lock."""

    state: DesiredState = field(default_factory=DesiredState)
    loaded: Mapping[Key, LoadedVersion] = field(default_factory=dict)
    errors: Mapping[Key, str] = field(default_factory=dict)
    state_error: str = ""

    @property
    def ready(self) -> bool:
        return not self.state_error and all(
            (one.model, one.digest) in self.loaded for one in self.state.models
        )


class ModelHost:
    """Converges to the desired-state file; a version that cannot be loaded never stops the others.

    Args:
        serving_dir: holds pools/<pool>.json and store/<digest>/.
        prepare: called with each version before it counts as loaded, to warm what else it needs.
        disk: says why answers cannot be logged here; empty when they can.
    """

    def __init__(
        self,
        serving_dir: Path,
        pool: str,
        prepare: Callable[[LoadedVersion], None],
        disk: Callable[[], str] = lambda: "",
    ) -> None:
        self.pool = pool
        self.versions = LoadedVersions(state_error="the desired state was not read yet")
        self._serving_dir = serving_dir
        self._prepare = prepare
        self._stop = threading.Event()
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: dict[Key, int] = {}
        self._disk = disk
        self._disk_error = ""
        self._looks = 0

    @property
    def error(self) -> str:
        """What keeps the whole server from being ready, whatever it has loaded."""
        return self.versions.state_error or self._disk_error

    @property
    def ready(self) -> bool:
        return not self.error and self.versions.ready

    def start(self, every_seconds: float = 0.2) -> None:
        """Converge in a thread until `stop`; the server answers health checks meanwhile."""
        self._thread = threading.Thread(target=self._run, args=(every_seconds,), name="converge", daemon=True)
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether everything wanted at the start was tried: before that, a restarted server gets no traffic."""
        return self._started.is_set()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self, every_seconds: float) -> None:
        self.converge()
        while not self._stop.wait(every_seconds):
            self.converge()

    def converge(self) -> None:
        """Load what is wanted and missing, let go of what is not wanted; problems become errors of `versions`."""
        if self._looks % DISK_EVERY == 0:
            self._disk_error = self._disk()
        self._looks += 1
        self._follow()
        self._started.set()

    def _follow(self) -> None:
        try:
            state = desired.read(desired.state_file(self._serving_dir, self.pool))
        except PerennialError as error:
            self.versions = LoadedVersions(
                self.versions.state,
                self.versions.loaded,
                self.versions.errors,
                f"{error.message} ({error.hint})",
            )
            return
        wanted = {(one.model, one.digest): one for one in state.models}
        now = self.versions
        if state == now.state and not now.state_error and set(now.loaded) | set(now.errors) == set(wanted):
            self._retry_failed(wanted)
            return
        # New state first: readiness must speak of it while the files are still being read.
        kept = {key: one for key, one in now.loaded.items() if key in wanted}
        kept = {key: replace(one, wanted=wanted[key]) for key, one in kept.items()}
        self._failed.clear()
        self.versions = LoadedVersions(state, kept, {})
        for key in wanted:
            if key not in kept:
                self._load(key)
        gc.collect()
        gc.freeze()  # loaded models and libraries live on: keep the collector from walking them again

    def _retry_failed(self, wanted: Mapping[Key, desired.DesiredVersion], every: int = 10) -> None:
        """A file may be repaired or copied anew under the same digest: look again every tenth time."""
        for key in list(self.versions.errors):
            self._failed[key] = self._failed.get(key, 0) + 1
            if self._failed[key] % every == 0:
                self._load(key)

    def _load(self, key: Key) -> None:
        now = self.versions
        wanted = next(one for one in now.state.models if (one.model, one.digest) == key)
        try:
            version = session.load(wanted, desired.version_folder(self._serving_dir, wanted.digest))
            self._prepare(version)
        except PerennialError as error:
            self.versions = LoadedVersions(
                now.state, now.loaded, {**now.errors, key: f"{error.message} ({error.hint})"}
            )
            return
        errors = {other: text for other, text in now.errors.items() if other != key}
        self.versions = LoadedVersions(now.state, {**now.loaded, key: version}, errors)

    def by_digest(
        self, model: str, digest: str, fallback: str | None, backup: str | None = None
    ) -> LoadedVersion:
        """Exactly the version that the router names, or one that it names to stand in for it.

        Args:
            fallback: the champion, for a candidate; only from the stable pool: what a canary server answers is
                counted as the candidate's, and one that could not load it must show that.
            backup: the champion before, for the champion; never from the stable pool, where another server
                may still have the champion, and where it would be counted as its answer.

        Raises:
            NotLoaded: none of them is loaded here.
        """
        loaded = self.versions.loaded
        named = [digest, fallback if self.pool == PoolName.STABLE else backup]
        found = next((loaded[model, one] for one in named if one and (model, one) in loaded), None)
        if found is None:
            raise NotLoaded(
                f"{model}: version not loaded: {digest[:12]}", hint="the router tries another server"
            )
        return found

    def by_version(self, model: str, version: str) -> LoadedVersion:
        """A version that the caller names by its semantic version.

        Raises:
            UnknownModel, UnknownVersion: not among those loaded here.
        """
        of_model = self._of_model(model)
        for one in of_model:
            if one.wanted.version == version:
                return one
        raise UnknownVersion(
            f"{model} {version} is not served here",
            hint=f"served: {', '.join(one.wanted.version for one in of_model)}",
        )

    def only(self, model: str) -> LoadedVersion:
        """The one version of the model; for direct calls that name none.

        Raises:
            UnknownModel: no version of it is loaded.
            MalformedInput: more than one is loaded, so the caller must say which.
        """
        of_model = self._of_model(model)
        if len(of_model) > 1:
            raise MalformedInput(
                f"{model}: {len(of_model)} versions are loaded and none was named",
                hint=f"call through the router, or send {headers.DIGEST}",
            )
        return of_model[0]

    def _of_model(self, model: str) -> list[LoadedVersion]:
        versions = self.versions
        found = [one for (name, _), one in versions.loaded.items() if name == model]
        if found:
            return found
        if any(one.model == model for one in versions.state.models):
            raise NotLoaded(f"{model}: no version is loaded yet", hint="see /v1/pool for the reason")
        known = sorted({name for name, _ in versions.loaded})
        raise UnknownModel(f"no model is named {model!r} here", hint=f"known: {', '.join(known) or 'none'}")
