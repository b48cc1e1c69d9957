"""What the tests of `perennial doctor` share: settings, a state folder after set-up, the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from serving_stack import free_ports

from perennial.cli import main
from perennial.errors import ChecksFailed
from perennial.local import supervisor
from perennial.local.doctor.finding import State
from perennial.settings import load

PORTS = ("PORT_MLFLOW", "PORT_AIRFLOW", "PORT_ENVOY", "PORT_MONITOR", "PORTS_STABLE", "PORTS_CANARY",
         "PORTS_STABLE_GRPC", "PORTS_CANARY_GRPC")  # fmt: skip
Set = Callable[..., None]
Rows = dict[str, dict[str, str]]


@pytest.fixture
def given(tmp_path, monkeypatch) -> Set:
    """Set settings by their names; the ports are free."""

    def set_(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"PERENNIAL_{name.upper()}", str(value))

    set_(home=tmp_path / "home", **dict(zip(PORTS, free_ports(len(PORTS)), strict=True)))
    return set_


@pytest.fixture
def home(given) -> Path:
    """A state folder after `perennial local setup`."""
    supervisor.set_up(load(), lambda line: None)
    return load().state


@pytest.fixture
def doctor(capsys) -> Callable[..., Rows]:
    """What the command prints, by check; a check with several findings has its worst."""

    def run(*options: str) -> Rows:
        capsys.readouterr()
        code = main(["doctor", "--json", *(options or ("--timeout", "120"))])
        rows = json.loads(capsys.readouterr().out)
        worst = sorted(rows, key=lambda row: list(State).index(State(row["state"])))
        assert code == (ChecksFailed.exit_code if worst[-1]["state"] == State.PROBLEM else 0)
        return {row["check"]: row for row in worst}

    return run
