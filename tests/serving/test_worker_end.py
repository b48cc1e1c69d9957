"""A worker whose first process was killed gives its port back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from perennial.serving.bento import PARENT_VARIABLE

WORKER = (
    "import time; from perennial.serving.bento import end_with_parent; end_with_parent(0.05); time.sleep(60)"
)


def test_a_worker_ends_though_its_parent_died_before_it_looked():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    worker = subprocess.run(
        [sys.executable, "-c", WORKER],
        env={**os.environ, PARENT_VARIABLE: str(gone.pid)},
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert worker.returncode == -signal.SIGKILL
