"""A search that processes share, and a program that joins it.

    python shared_search.py FOLDER DATABASE

FOLDER gets a file for each trial that is begun, named by its parameter and the process; the first process to begin its
second trial removes the file `kill`, if it is there, and kills itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from doubles.search import TUNING, objective, suggest
from perennial.adapters.optuna import shared_trials
from perennial.adapters.optuna.tuner import OptunaTuner
from perennial.core.shared_search import SharedSearch

SHARED = TUNING.model_copy(update={"shared": True})
STUDY = "rates-0123"
shared_trials.HEARTBEAT, shared_trials.GRACE, shared_trials.POLL = 1, 4, 0.1  # type: ignore[misc]


def embedded(folder: Path) -> OptunaTuner:
    """Return the tuner of the embedded default."""
    folder.mkdir(exist_ok=True)
    return OptunaTuner(f"sqlite:///{folder / 'shared.db'}", folder)


def offer(trials: int = SHARED.trials) -> SharedSearch:
    return SharedSearch(
        study=STUDY, files={}, holdout_from=8, tuning=SHARED.model_copy(update={"trials": trials})
    )


def lead(tuner: OptunaTuner, search: SharedSearch, objective=objective):
    seen = []
    best = tuner.tune(search.study, search.tuning, True, suggest, objective, seen.append, (), search)
    return best, seen


def main(folder: Path, url: str) -> None:
    begun = 0

    def marked(parameters, report):
        nonlocal begun
        begun += 1
        (folder / f"{parameters['x']}_{os.getpid()}_{begun}").touch()
        if begun == 2:
            with contextlib.suppress(FileNotFoundError):
                (folder / "kill").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return objective(parameters, report)

    tuner = OptunaTuner(url, folder.parent)
    search = tuner.offered("rates")
    assert search is not None
    tuner.join(search, suggest, marked, lambda trial: print(trial.number), idle=300)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
