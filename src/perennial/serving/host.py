"""The loaded versions of a model server, and their convergence to the desired state of its pool."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from perennial.core.release.traffic import PoolName
from perennial.errors import MalformedInput, NotLoaded, PerennialError, UnknownModel, UnknownVersion
from perennial.serving import desired_state, headers, session
from perennial.serving.desired_state import DesiredState, DesiredVersion
from perennial.serving.onnx import ON_CPU, Execution
from perennial.serving.session import LoadedVersion
from perennial.serving.signed_files import TrustedKeys

Key = tuple[str, str]
"""(model, digest)"""

DISK_EVERY = 10
"""Passes over the desired state per check of the disk."""


@dataclass(frozen=True)
class LoadedVersions:
    """An immutable snapshot of the server; replaced as a whole, so that requests need no lock."""

    state: DesiredState = field(default_factory=DesiredState)
    loaded: Mapping[Key, LoadedVersion] = field(default_factory=dict)
    errors: Mapping[Key, str] = field(default_factory=dict)
    state_error: str = ""

    @property
    def ready(self) -> bool:
        return not self.state_error and all(wanted.identity in self.loaded for wanted in self.state.models)


class ModelHost:
    """Converges to the desired-state file; a version that cannot be loaded does not stop the others.

    Args:
        serving_dir: folder with pools/<pool>.json and store/<digest>/.
        prepare: called with each version before it counts as loaded, to warm up its dependencies.
        trusted: keys whose signature makes a version one that may be loaded.
        problem: says what is wrong with the bytes of a model file, or an empty text (`serving.session.load`).
        disk: returns why answers cannot be logged, or an empty text.
        execution: provider that runs the models.
    """

    def __init__(
        self,
        serving_dir: Path,
        pool: str,
        prepare: Callable[[LoadedVersion], None],
        trusted: TrustedKeys,
        problem: Callable[[bytes], str],
        disk: Callable[[], str] = lambda: "",
        execution: Execution = ON_CPU,
    ) -> None:
        self.pool = pool
        self.versions = LoadedVersions(state_error="the desired state is not read yet")
        self._serving_dir = serving_dir
        self._prepare = prepare
        self._trusted = trusted
        self._problem = problem
        self._execution = execution
        self._stop = threading.Event()
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: dict[Key, int] = {}
        self._disk = disk
        self._disk_error = ""
        self._looks = 0

    @property
    def error(self) -> str:
        """Return why the whole server is not ready, independent of its versions, or an empty text."""
        return self.versions.state_error or self._disk_error

    @property
    def ready(self) -> bool:
        return not self.error and self.versions.ready

    def start(self, every_seconds: float = 0.2) -> None:
        """Converge in a thread until `stop`; meanwhile the server answers health checks."""
        self._thread = threading.Thread(target=self._run, args=(every_seconds,), name="converge", daemon=True)
        self._thread.start()

    @property
    def started(self) -> bool:
        """Return true after the first pass: before that, a restarted server must get no traffic."""
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
        """Load missing versions and drop undesired versions; problems become errors of `versions`."""
        if self._looks % DISK_EVERY == 0:
            self._disk_error = self._disk()
        self._looks += 1
        self._follow()
        self._started.set()

    def _follow(self) -> None:
        try:
            state = desired_state.read(desired_state.state_file(self._serving_dir, self.pool))
        except PerennialError as error:
            self.versions = replace(self.versions, state_error=f"{error.message} ({error.hint})")
            return
        wanted = {version.identity: version for version in state.models}
        now = self.versions
        if state == now.state and not now.state_error and set(now.loaded) | set(now.errors) == set(wanted):
            self._retry_failed(wanted)
            return
        # Publish the new state first, so that readiness refers to it while the files are being read.
        kept = {
            key: replace(version, wanted=wanted[key]) for key, version in now.loaded.items() if key in wanted
        }
        self._failed.clear()
        self.versions = LoadedVersions(state, kept, {})
        for key in wanted:
            if key not in kept:
                self._load(key)
        gc.collect()
        gc.freeze()  # loaded models and libraries stay: exclude them from later collections

    def _retry_failed(self, wanted: Mapping[Key, DesiredVersion], every: int = 10) -> None:
        """Try failed versions again every tenth pass: a file may be repaired under the same digest."""
        for key in list(self.versions.errors):
            self._failed[key] = self._failed.get(key, 0) + 1
            if self._failed[key] % every == 0:
                self._load(key)

    def _load(self, key: Key) -> None:
        now = self.versions
        wanted = next(version for version in now.state.models if version.identity == key)
        try:
            folder = desired_state.version_folder(self._serving_dir, wanted.digest)
            version = session.load(wanted, folder, self._trusted, self._problem, self._execution)
            self._prepare(version)
        except PerennialError as error:
            self.versions = replace(now, errors={**now.errors, key: f"{error.message} ({error.hint})"})
            return
        errors = {other: text for other, text in now.errors.items() if other != key}
        self.versions = LoadedVersions(now.state, {**now.loaded, key: version}, errors)

    def by_digest(
        self, model: str, digest: str, fallback: str | None, backup: str | None = None
    ) -> LoadedVersion:
        """Return the version with the digest, or the version that may stand in for it in this pool.

        Args:
            fallback: digest of the champion, in place of a candidate. Only the stable pool uses it: answers of a
                canary server count for the candidate, and a server that cannot load it must show that.
            backup: digest of the previous champion, in place of the champion. The stable pool never uses it:
                another server may have the champion, and the answer would count for the champion.

        Raises:
            NotLoaded: neither version is loaded here.
        """
        loaded = self.versions.loaded
        for candidate in (digest, fallback if self.pool == PoolName.STABLE else backup):
            if candidate and (model, candidate) in loaded:
                return loaded[model, candidate]
        raise NotLoaded(f"{model}: version not loaded: {digest[:12]}", hint="the router tries another server")

    def by_version(self, model: str, version: str) -> LoadedVersion:
        """Return the loaded version with this semantic version.

        Raises:
            UnknownModel, UnknownVersion: it is not loaded here.
        """
        of_model = self._of_model(model)
        for loaded in of_model:
            if loaded.wanted.version == version:
                return loaded
        raise UnknownVersion(
            f"{model} {version} is not served here",
            hint=f"served: {', '.join(loaded.wanted.version for loaded in of_model)}",
        )

    def only(self, model: str) -> LoadedVersion:
        """Return the only version of the model, for direct calls that name no version.

        Raises:
            UnknownModel: no version of it is loaded.
            MalformedInput: several versions are loaded, and the caller must name a version.
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
        of_model = [version for (name, _), version in versions.loaded.items() if name == model]
        if of_model:
            return of_model
        if any(wanted.model == model for wanted in versions.state.models):
            raise NotLoaded(f"{model}: no version is loaded yet", hint="see /v1/pool for the reason")
        known = sorted({name for name, _ in versions.loaded})
        raise UnknownModel(f"no model is named {model!r} here", hint=f"known: {', '.join(known) or 'none'}")
