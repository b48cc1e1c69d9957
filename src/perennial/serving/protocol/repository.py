"""The model repository extension: which versions a server holds. Releases decide it, callers only ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from perennial.errors import OwnedByReleases, UnknownModel
from perennial.serving.host import ModelHost

ON_DEMAND = "loaded on demand: the first request for it loads it"
HINT = "a release brings a version in and takes it out: `perennial release start`, `perennial rollback`"


class State(StrEnum):
    """State of a version; the names are those of the extension."""

    READY = "READY"
    LOADING = "LOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class RepositoryEntry:
    """A version that this server should hold.

    Attributes:
        reason: why it is not ready; empty where it is.
    """

    name: str
    version: str
    state: State
    reason: str


class Repository:
    """The versions of a server."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host

    def index(
        self, ready: bool = False, allowed: Callable[[str], bool] = lambda model: True
    ) -> list[RepositoryEntry]:
        """Return the versions that this server should hold.

        Args:
            ready: only those that are ready.
            allowed: whether the caller may see a model.
        """
        by_model = self._host.versions.state.by_model
        entries = (entry for model in by_model if allowed(model) for entry in self._entries(model))
        return [entry for entry in entries if entry.state is State.READY or not ready]

    def _entries(self, model: str) -> Iterator[RepositoryEntry]:
        versions = self._host.versions
        for wanted in versions.state.by_model.get(model, ()):
            key = wanted.identity
            reason = self._host.error_of(key)
            if self._host.is_loaded(key):
                state, reason = State.READY, ""
            elif key in versions.registered:
                state, reason = State.UNAVAILABLE, reason or ON_DEMAND
            else:
                state = State.UNAVAILABLE if reason else State.LOADING
            yield RepositoryEntry(wanted.model, wanted.version, state, reason)

    def load(self, model: str) -> None:
        """Check that every version of a model that this server should hold is ready. Nothing changes.

        Raises:
            UnknownModel: the server should hold none. OwnedByReleases: one is not ready; says why.
        """
        for entry in self._of(model):
            if entry.state is not State.READY:
                raise OwnedByReleases(
                    f"{model} {entry.version} is {entry.state.value}: {entry.reason or 'it is being read'}",
                    hint="the server tries again by itself every few seconds; a call changes nothing",
                )

    def unload(self, model: str) -> None:
        """Refuse to unload a model.

        Raises:
            UnknownModel: the server should hold none. OwnedByReleases: it holds one.
        """
        held = ", ".join(entry.version for entry in self._of(model))
        raise OwnedByReleases(f"releases own {model} {held}: a call cannot unload it", hint=HINT)

    def _of(self, model: str) -> list[RepositoryEntry]:
        entries = list(self._entries(model))
        if not entries:
            raise UnknownModel(f"no version of {model!r} is released to this server", hint=HINT)
        return entries
