"""Processes of a batch end with their parent, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import os, sys, time
from functools import partial
from pathlib import Path
from perennial.adapters.batch.workers import Processes

def forever(folder):
    (folder / str(os.getpid())).touch()
    return lambda chunk: time.sleep(3600)

if __name__ == "__main__":
    list(Processes(2).each(partial(forever, Path(sys.argv[1])), range(8)))
"""


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_batch_leaves_no_process(tmp_path):
    script, folder = tmp_path / "parent.py", tmp_path / "processes"
    folder.mkdir()
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script), str(folder)]) as parent:
        until(lambda: len(list(folder.iterdir())) == 2 or parent.poll() is not None)
        workers = [int(path.name) for path in folder.iterdir()]
        assert len(workers) == 2
        os.kill(parent.pid, signal.SIGKILL)
    until(lambda: not any(alive(worker) for worker in workers))


def until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
