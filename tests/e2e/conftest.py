"""The whole stack as real processes, started by the only run of the demo, on free ports and in its own folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving_stack import free_ports

from perennial.settings import Settings

from .under_fire import ReleaseUnderFire, release_under_fire

ROOT = Path(__file__).resolve().parents[2]
MODEL, MIRROR = "test_failure_predictor", "PERENNIAL_DATA_MIRROR"


@dataclass(frozen=True)
class Stack:
    """One state folder with its ports; `settings` sees what the processes see."""

    env: dict[str, str]
    settings: Settings

    def start(self, *line: str, log: Path) -> subprocess.Popen:
        with log.open("w") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "perennial", *line],
                env=self.env, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                # Tests run in the background inherit an ignored SIGINT; a terminal's Ctrl-C is not ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    def run(self, *line: str, timeout: float = 120) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "perennial", *line],
            env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(line)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def processes(self) -> list[str]:
        """Command lines of processes that have to do with this state folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # ended meanwhile, or somebody else's
                continue
            if (
                int(entry.name) != os.getpid()
                and str(self.settings.state).encode() in environment
                and command
            ):
                found.append(f"{entry.name} {command}")
        return found


def make_stack(folder: Path) -> Stack:
    """Return the settings of a stack in `folder`: those of the demo, on free ports."""
    names = ("mlflow", "airflow", "envoy", "monitor")
    ports = free_ports(len(names) + 6)
    given = {f"port_{name}": port for name, port in zip(names, ports, strict=False)}
    given |= {
        "home": folder / "parent" / "state",
        "spec_overlay": ROOT / "configs" / "demo",
        "false_drift_warnings_per_month": 1e6,
        "ports_stable": f"{ports[-3]},{ports[-2]}",
        "ports_canary": str(ports[-1]),
        "ports_stable_grpc": f"{ports[-6]},{ports[-5]}",
        "ports_canary_grpc": str(ports[-4]),
        "tracking_url": f"http://127.0.0.1:{given['port_mlflow']}",
    }
    foreign = ("PERENNIAL_", "AIRFLOW", "MLFLOW_")
    clean = {key: value for key, value in os.environ.items() if key == MIRROR or not key.startswith(foreign)}
    ours = {f"PERENNIAL_{name.upper()}": str(value) for name, value in given.items()}
    return Stack(clean | ours, Settings(**given))


def until(condition: Callable, timeout: float, what: str):
    """Poll twice a second; the first true value."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.5)
    return found


@dataclass
class Demo:
    """The running command `perennial demo run`."""

    stack: Stack
    process: subprocess.Popen
    log: Path

    def until(self, condition: Callable, timeout: float, what: str):
        """Poll as `until` does; fail at once when the demo has ended with an error."""

        def running():
            assert self.process.poll() in (None, 0), f"waiting for {what}:\n{self.log.read_text()[-6000:]}"
            return condition()

        return until(running, timeout, what)


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Iterator[Demo]:
    """The demo, still running; the release after its retraining waits for a person (see `second_release`)."""
    folder = tmp_path_factory.mktemp("demo")
    stack, log = make_stack(folder), folder / "demo.log"
    process = stack.start("demo", "run", "--rate", "40", "--by-person", log=log)
    try:
        yield Demo(stack, process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=90)
        stack.run("local", "down")


@pytest.fixture(scope="session")
def second_release(demo, chromium) -> ReleaseUnderFire:
    """The demo's second release: a person approves it in MLflow's page, then processes are killed."""
    return release_under_fire(demo, chromium)


@pytest.fixture(scope="session")
def stack(demo, second_release) -> Stack:
    """The stack after the demo has ended."""
    code = demo.process.wait(timeout=300)
    text = demo.log.read_text()
    print(text)  # pytest shows it where a test fails
    assert code == 0, f"the demo ended with {code}:\n{text[-6000:]}"
    return demo.stack


@pytest.fixture(scope="session")
def report(stack) -> dict:
    return json.loads((stack.settings.reports / "demo" / "report.json").read_text())
