"""A person's shell beside a stack: commands in processes of their own, which talk to an MLflow server with accounts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow_server import MlflowServer

from perennial.settings import Settings


@contextmanager
def shell(settings: Settings) -> Iterator[Callable[..., str]]:
    """Start an MLflow server over the runs and versions of a stack that had none.

    Yields:
        What runs a command and returns what it prints; it fails where the command fails.
    """
    server = MlflowServer(settings.home)
    address = {
        "PERENNIAL_TRACKING_URL": server.url,
        "PERENNIAL_PORT_MLFLOW": str(server.settings.port_mlflow),
    }

    def run(*arguments: str) -> str:
        line = [sys.executable, "-m", "perennial", *arguments]
        done = subprocess.run(
            line, env={**os.environ, **address}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    try:
        server.start()
        yield run
    finally:
        server.stop()
