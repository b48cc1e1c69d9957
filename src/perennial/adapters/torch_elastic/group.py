"""A function that runs in several processes at once, as a group of `torch.distributed`.

The group has a launcher (`launcher.py`) with an environment of its own: a training is signed in to MLflow and knows
addresses of databases, and no worker needs them. Function and result go through pipes, never through files.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import cloudpickle

from perennial.errors import WorkerLost

T = TypeVar("T")
HANDED_ON = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG",
    "PERENNIAL_DEVICE", "PERENNIAL_PROJECT",
)  # fmt: skip
"""Variables of the training that its workers have too."""
LOOPBACK_INTERFACE = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""The workers listen on loopback only."""


def together(workers: int, work: Callable[[], T]) -> T:
    """Run a function once in each of `workers` processes and return what it returns in the first of them.

    With a single worker it runs here. When a process dies, all begin again.

    Raises:
        WorkerLost: processes died again and again.
        PerennialError: as the function raises it in a worker.
    """
    if workers == 1:
        return work()
    content = cloudpickle.dumps(work)
    environment = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    environment |= LOOPBACK_INTERFACE | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    read, write = os.pipe()
    with (
        open(read, "rb") as answer,
        subprocess.Popen(
            [sys.executable, "-m", "perennial.adapters.torch_elastic.launcher", str(workers), str(write)],
            stdin=subprocess.PIPE, env=environment, pass_fds=(write,),
        ) as launcher,
    ):  # fmt: skip
        os.close(write)
        given: Any = launcher.stdin
        with suppress(BrokenPipeError):
            given.write(len(content).to_bytes(8) + content)
            given.flush()
        # The launcher ends when its standard input does: not before the answer, and with a training that is killed.
        result = answer.read()
    if not result:
        raise WorkerLost(
            f"the launcher of {workers} workers ended with code {launcher.returncode}",
            hint="most often memory is short: lower training.workers in the spec, or bring more of it",
        )
    outcome: Any = pickle.loads(result)  # noqa: S301 from a pipe of our own child
    if isinstance(outcome, Exception):
        raise outcome
    (value,) = outcome
    return value
