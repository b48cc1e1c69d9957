"""The process that starts the workers of a group by PyTorch's elastic launch, and starts them again when one dies.

    python -m perennial.adapters.torch_elastic.launcher WORKERS FD

The pickled function comes by the standard input, after its length; the pickled outcome leaves by FD.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from functools import partial
from pathlib import Path
from uuid import uuid4

import cloudpickle
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.api import RendezvousStoreInfo
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from perennial.adapters.child_process import end_when, end_with_parent
from perennial.errors import PerennialError, WorkerLost
from perennial.settings import LOOPBACK, load

RESTARTS = 2
"""How often the workers are started again."""
BACKEND = "loopback"


class LoopbackRendezvous(RendezvousHandler):
    """Rendezvous of a single machine: its store listens on a free port of loopback.

    The stores that PyTorch's own rendezvous make listen on every address of the machine.
    """

    def __init__(self, parameters: RendezvousParameters) -> None:
        self._run_id = parameters.run_id
        self._store: dist.TCPStore | None = None

    def get_backend(self) -> str:
        return BACKEND

    @property
    def use_agent_store(self) -> bool:
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Open a new store: in that of the workers before, the new ones would read addresses of dead ones."""
        listener = socket.create_server((LOOPBACK, 0))
        port = listener.getsockname()[1]
        self._store = dist.TCPStore(
            LOOPBACK, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
        )
        return RendezvousInfo(self._store, 0, 1, RendezvousStoreInfo(LOOPBACK, port))

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        """Nobody else may join."""

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        return True


def launch(workers: int, content: bytes, folder: Path) -> bytes:
    """Run the pickled function in `workers` processes; return the pickled outcome: a 1-tuple, or an error.

    Args:
        folder: where the workers leave why they failed, as JSON.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=workers,
        run_id=uuid4().hex,
        rdzv_backend=BACKEND,
        max_restarts=RESTARTS,
        local_addr=LOOPBACK,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
    )
    try:
        results = elastic_launch(config, work)(content)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        reason = failure.message.strip().splitlines()[-1] if failure.exitcode > 0 else failure.signal_name()
        return cloudpickle.dumps(
            WorkerLost(
                f"worker {rank} of {workers} ended with code {failure.exitcode} ({reason}), "
                f"and so {RESTARTS + 1} times",
                hint="without memory the system kills: lower training.workers in the spec, or bring more of it",
            )
        )
    return next((result for _, result in sorted(results.items()) if result is not None), b"")


def work(content: bytes) -> bytes | None:
    """Run the pickled function in a worker; return its outcome in the first one, and an error in any."""
    end_with_parent()
    dist.init_process_group("nccl" if load().device == "cuda" else "gloo")
    try:
        value = cloudpickle.loads(content)()  # sent by the launcher
        return cloudpickle.dumps((value,)) if dist.get_rank() == 0 else None
    except PerennialError as error:
        return cloudpickle.dumps(error)
    finally:
        dist.destroy_process_group()


def main(workers: int, descriptor: int) -> None:
    """Read the function, run it in the workers, and write the outcome."""
    given = sys.stdin.buffer
    content = given.read(int.from_bytes(given.read(8)))
    end_when(partial(os.read, given.fileno(), 1))  # the training has ended
    rendezvous_handler_registry.register(BACKEND, LoopbackRendezvous)
    with tempfile.TemporaryDirectory() as folder, open(descriptor, "wb") as answer:
        answer.write(launch(workers, content, Path(folder)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), int(sys.argv[2]))
