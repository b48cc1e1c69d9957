"""A person's shell beside a stack: commands in processes of their own, which talk to an MLflow server with accounts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from mlflow_server import MlflowServer

from perennial.settings import Settings

ACCOUNT = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@contextmanager
def shell(settings: Settings) -> Iterator[Callable[..., str]]:
    """Start an MLflow server over the runs and versions of a stack that had none; within the block, commands use it.

    The test's own process may become one account, since a process has one role.

    Yields:
        What runs a command in a process and returns what it prints; it fails where the command fails.
    """
    server = MlflowServer(settings.home)

    def run(*arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in ACCOUNT}
        line = [sys.executable, "-m", "perennial", *arguments]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=800)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    try:
        server.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PERENNIAL_TRACKING_URL", server.url)
            patch.setenv("PERENNIAL_PORT_MLFLOW", str(server.settings.port_mlflow))
            for name in ACCOUNT:  # known to the patch, so that they are gone after the block
                patch.setenv(name, "")
                del os.environ[name]
            yield run
    finally:
        server.stop()
