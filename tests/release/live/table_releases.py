"""Models over tables of a project folder, from a CSV file to an answer of Envoy, on a stack under supervisord."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd
import pytest
from live_releases import PASS_EVERY, SHORT, now
from serving_stack import variables
from supervised_stack import SupervisedStack

from perennial import catalog
from perennial.adapters.project_folder import make_project
from perennial.cli import main
from perennial.core.release.phase import Phase
from perennial.core.release.status import Intent, IntentKind, ReleaseStatus
from perennial.flows.release import gate
from perennial.flows.release.reconcile import reconcile
from perennial.local import supervisor
from perennial.wiring import releasing

OVERLAY = {
    "tuning": {"trials": 1, "epochs": 10},
    "evaluation": {"bootstrap": 20},
    "gate": {"latency_p95_ms": 2000},
    "approval": {"high_risk": 1},
    "release": SHORT,
}
"""What shortens hours to seconds; the rest is as `perennial init` writes it."""


class TableReleases:
    """A project folder with a name of more than ASCII, and the stack that serves its models."""

    def __init__(self, folder: Path) -> None:
        self.project, self.overlay = folder / "Prüfstand für Tabellen", folder / "overlay"
        make_project(self.project)
        self.overlay.mkdir()
        self.stack = SupervisedStack(
            self.project / ".perennial", overlay=self.overlay, project=self.project, trusted_keys=None
        )
        self.settings = self.stack.settings

    def write(self, name: str, table: pd.DataFrame) -> None:
        table.to_csv(self.project / f"{name}.csv", index=False)

    def train(self, name: str) -> None:
        """`perennial run`: data revision, checks, training, evaluation, registration."""
        assert main(["run", name]) == 0

    def make(self, name: str, table: pd.DataFrame, *options: str, template: str = "linear") -> None:
        """Write the CSV, then `perennial init` and `perennial run`."""
        self.write(name, table)
        (self.overlay / f"{name}.yaml").write_text(json.dumps(OVERLAY))
        path = str(self.project / f"{name}.csv")
        assert main(["init", name, "--from", path, "--template", template, "--yes", *options]) == 0
        self.train(name)

    def allow_variants(self, name: str) -> None:
        """Edit the spec as a person would: remove the mark of the comment, and say what few rows can show."""
        path = self.project / "configs" / "models" / f"{name}.yaml"
        line = "# variants: {agreement: 0.99, quality_drop: 0.005}"
        text = path.read_text(encoding="utf-8")
        assert line in text
        edited = text.replace(line, "variants: {agreement: 0.9, quality_drop: 0.05}")
        path.write_text(edited, encoding="utf-8")

    def take(self, name: str, file: Path, holdout: Path, *options: str) -> None:
        """`perennial models import`: a finished model as a candidate."""
        (self.overlay / f"{name}.yaml").write_text(json.dumps(OVERLAY))
        line = [
            "models",
            "import",
            name,
            str(file),
            "--data",
            str(holdout),
            "--trained",
            "by another team",
            "--yes",
        ]
        assert main([*line, *options]) == 0

    def release(
        self, name: str, which: str = "candidate", seconds: float = 120
    ) -> tuple[ReleaseStatus, list[Phase]]:
        """Release a version, approved by another person; return the end and the phases in order."""
        ports = releasing.release_ports(self.settings)
        spec = catalog.spec(name, self.settings)
        status = gate.start(spec, which, ports, "ann", now, time.sleep)
        phases, end = [status.phase], time.monotonic() + seconds
        if status.phase is Phase.AWAITING_APPROVAL:
            ports.intents.put(
                Intent(
                    id=f"{status.release_id}-0", release_id=status.release_id, kind=IntentKind.APPROVE,
                    actor="bob", at=now(), digest=status.candidate.digest, channel="cli",
                )
            )  # fmt: skip
        while not status.phase.is_final():
            assert time.monotonic() < end, f"{status.phase}: {status.note}; {status.evidence}"
            time.sleep(PASS_EVERY)
            status = reconcile(status.release_id, ports, now())
            if status.phase is not phases[-1]:
                phases.append(status.phase)
        return status, phases

    def address(self, name: str) -> str:
        return f"/v1/models/{name}/predict"

    def ask(self, name: str, row: dict) -> dict:
        """Return the prediction that a client gets through Envoy."""
        return self.answer(name, row)["predictions"][0]

    def answer(self, name: str, row: dict) -> dict:
        """Return the answer of Envoy with the version that gave it."""
        url = f"{self.settings.envoy_url}{self.address(name)}"
        answer = httpx.post(url, json={"rows": [row]}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def table_releases(folder: Path) -> Iterator[TableReleases]:
    """A project and its running stack, which is stopped after the block."""
    releases = TableReleases(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables(releases.settings).items():
            patch.setenv(name, value)
        supervisor.set_up(releases.settings, lambda words: None)
        try:
            releases.stack.start()
            yield releases
        finally:
            releases.stack.stop()
