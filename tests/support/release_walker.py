"""What a process does that walks a release by the real command, and dies of each of its effects once."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path

from live_releases import MODEL, ports_without_checks

import perennial.adapters.mlflow.registry  # noqa: F401  before the fork, so that no walker imports it
from perennial import settings as environment
from perennial.cli import main
from perennial.flows.release.ports import ReleasePorts
from perennial.wiring import releasing


def walk(variables: dict[str, str], notes: Path | None) -> None:
    """Reconcile the newest release of the model to its end, by the real command.

    Args:
        variables: the environment of the stack.
        notes: a folder with one file for each effect after which a process died; None: it does not die.
    """
    os.environ.update(variables)
    ports = ports_without_checks(environment.load())
    if notes is not None:
        mortal(ports, notes)
    releasing.release_ports = lambda settings=None: ports
    sys.exit(main(["release", "reconcile", MODEL, "--until-final", "--every", "0.1"]))


def mortal(ports: ReleasePorts, notes: Path) -> None:
    """After each call that changes the world outside, the first time that it is made, SIGKILL."""
    for owner, names in (
        (ports.pool, ("ensure", "drop")),
        (ports.router, ("apply",)),
        (ports.labels, ("alias", "tag")),
        (ports.releases, ("save",)),
    ):
        for name in names:
            setattr(owner, name, _last(getattr(owner, name), name, notes))


def _last(real, name: str, notes: Path):
    def call(*arguments):
        done = real(*arguments)
        # Evidence and tag values differ from pass to pass: what they are of tells one effect from another.
        told = f"{arguments[0].phase}-{arguments[0].step}" if name == "save" else repr(arguments[:2])
        note = notes / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        if not note.exists():
            note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return call
