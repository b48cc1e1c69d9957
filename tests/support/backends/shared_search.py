"""A search that a process of the test leads, and that two others join; one of them is killed in a trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from doubles import shared_search
from doubles.search import objective

from perennial.adapters.optuna.tuner import OptunaTuner

SECONDS = 240
"""Longest time for processes to start on a busy machine."""


def search_with_a_killed_follower(url: str, folder: Path) -> None:
    """The search has each trial once, with that of the killed process."""
    marks = folder / "marks"
    marks.mkdir()
    (marks / "kill").touch()
    followers: list[subprocess.Popen] = []
    own: list[float] = []

    def begun_by(follower: subprocess.Popen) -> list[Path]:
        return list(marks.glob(f"*_{follower.pid}_*"))

    def led(parameters, report):
        own.append(parameters["x"])
        if not followers:
            command = [sys.executable, shared_search.__file__, str(marks), url]
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
            followers.extend(subprocess.Popen(command, env=environment) for _ in range(2))
            until = time.monotonic() + SECONDS
            while (marks / "kill").exists() or not all(map(begun_by, followers)):
                assert time.monotonic() < until
                time.sleep(0.1)
        return objective(parameters, report)

    # More trials than the followers take while the second one starts.
    search = shared_search.offer(trials=40)
    try:
        best, seen = shared_search.lead(OptunaTuner(url, folder), search, led)
        codes = sorted(follower.wait(SECONDS) for follower in followers)
    finally:
        for follower in followers:
            follower.kill()
            follower.wait()
    assert codes == [-signal.SIGKILL, 0], "who follows ends with the search"
    assert len(seen) == len({trial.number for trial in seen}) == 40
    assert best.value == max(trial.value for trial in seen if trial.value is not None)
    tried = {str(trial.parameters["x"]) for trial in seen}
    assert len(tried) == 40
    (killed,) = [follower for follower in followers if follower.returncode != 0]
    assert {path.name.partition("_")[0] for path in begun_by(killed)} <= tried, (
        "its last trial was tried again"
    )
    assert 0 < len(own) < 40
    again, repeated = shared_search.lead(OptunaTuner(url, folder), search)
    assert (again, len(repeated)) == (best, 40), "a search that has ended is not run again"
