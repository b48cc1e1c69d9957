"""The versions of a model server under a desired state."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from perennial.core.serving_spec import Load
from perennial.serving.desired_state import DesiredState
from perennial.serving.loading.on_demand import Key, OnDemandVersions
from perennial.serving.session import LoadedVersion, RegisteredVersion


@dataclass(frozen=True)
class LoadedVersions:
    """The versions under a desired state; replaced as a whole with it.

    The thread that converges adds and removes keys meanwhile. Others look keys up, which needs no lock, and do not
    iterate: the state says which keys there may be.

    Attributes:
        loaded: the pinned versions.
        registered: the versions that are loaded on demand; `ModelHost.on_demand` has the loaded ones.
    """

    state: DesiredState = field(default_factory=DesiredState)
    loaded: dict[Key, LoadedVersion] = field(default_factory=dict)
    errors: dict[Key, str] = field(default_factory=dict)
    state_error: str = ""
    registered: dict[Key, RegisteredVersion] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Return whether every pinned version is loaded, and every other one was looked at."""
        return not self.state_error and all(
            wanted.identity in self.loaded
            or (
                wanted.load is Load.ON_DEMAND
                and (wanted.identity in self.registered or wanted.identity in self.errors)
            )
            for wanted in self.state.models
        )

    @property
    def settled(self) -> bool:
        """Return whether every version is loaded, registered or an error."""
        return len(self.loaded) + len(self.registered) + len(self.errors) == len(self.state.models)

    def kept(self, state: DesiredState, on_demand: OnDemandVersions) -> LoadedVersions:
        """Return what is there of a new state, so that readiness refers to it while the files are being read."""
        kept = LoadedVersions(state)
        for wanted in state.models:
            key = wanted.identity
            loaded = self.loaded.get(key)
            if wanted.load is Load.PINNED:
                if (version := loaded or on_demand.find(key)) is not None:
                    kept.loaded[key] = replace(version, wanted=wanted)
            elif (known := loaded or self.registered.get(key)) is not None:
                kept.registered[key] = RegisteredVersion(wanted, known.manifest)
        return kept
