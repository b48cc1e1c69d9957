"""Functions for the workers of a training, which import this module."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import numpy as np

from perennial.core.tasks import Ranking
from perennial.core.training.examples import Examples
from perennial.errors import WrongAnswer

NAMES = ("failure_rate", "run_count", "last_execution_status", "weekday")
PARAMETERS = {
    "width": 16, "layers": 1, "members": 4, "bins": 8, "dropout": 0.0, "learning_rate": 4e-3, "weight_decay": 1e-2,
    "rank_weight": 1.0, "batch": 129,
}  # fmt: skip
"""Without dropout, whose units every process draws for itself."""


def examples() -> Examples:
    """Return 1600 rows, so that the last batch of an epoch has an odd number of rows."""
    random = np.random.default_rng(1)
    size = 1600
    rate = random.random(size)
    features = np.stack(
        [rate, random.lognormal(3, 2, size), random.integers(0, 2, size), random.integers(0, 7, size)], axis=1
    ).astype(np.float32)
    target = (random.random(size) < rate).astype(np.float32)
    return Examples(features, target, np.arange(40).repeat(40).astype(np.int64))


def fit(killed: Path | None = None, parameters: dict = PARAMETERS):
    """Return a model after some epochs; the second process kills itself in the third one if the file is not there."""
    from perennial.models.test_failure_predictor import TestFailurePredictor

    def progress(epoch, metrics):
        if killed is not None and epoch == 2 and os.environ.get("RANK") == "1":
            with contextlib.suppress(FileExistsError):
                killed.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)

    model = TestFailurePredictor(NAMES, parameters, 7, Ranking(threshold=0.5))
    rows = examples()
    model.fit(rows.where(rows.group < 32), rows.where(rows.group >= 32), 6, progress)
    return model


def surroundings() -> tuple[dict[str, str], str, list[str]]:
    """Return the environment of this worker, as the kernel shows it, its arguments, and where its group listens."""
    import torch.distributed as dist

    dist.barrier()
    shown = Path("/proc/self/environ").read_bytes().decode().split("\0")
    arguments = Path("/proc/self/cmdline").read_bytes().decode()
    sockets = [
        os.readlink(link)
        for process in (os.getpid(), os.getppid())
        for link in Path(f"/proc/{process}/fd").iterdir()
        if link.is_symlink() and os.path.lexists(link)
    ]
    own = {name[len("socket:[") : -1] for name in sockets if name.startswith("socket:")}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    listening = [row[1] for row in rows if row[3] == "0A" and row[9] in own]
    dist.barrier()
    return dict(entry.partition("=")[::2] for entry in shown if entry), arguments, listening


def wrong() -> None:
    raise WrongAnswer("answer 7 is no probability", hint="mend the model")


def deadly() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
