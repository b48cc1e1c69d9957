"""The SDK of KServe beside this environment: its pins of protobuf and of grpcio clash with ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What its client imports and this environment lacks; everything else that it imports is here.
PACKAGES = (
    "kserve==0.21.0", "cloudevents==1.13.0", "durationpy==0.11", "grpc-interceptor==0.15.4",
    "kubernetes==37.0.1", "timing-asgi==0.3.2", "websocket-client==1.9.2",
)  # fmt: skip
CALLS = Path(__file__).parent / "kserve_calls.py"


def install(folder: Path) -> None:
    """Install the SDK into a folder; skips the test, and says so, where no package index answers."""
    options = ["--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
    said = ""
    for tool in ("uv pip install", "pip install"):  # whichever knows the package index of this machine
        command = [sys.executable, "-m", *tool.split(), *options]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
        except subprocess.TimeoutExpired:
            said = f"{tool} took too long"
        except subprocess.CalledProcessError as error:
            said = error.stderr[-500:]
        else:
            return
    pytest.skip(f"the SDK of KServe cannot be installed: {said}")


def run_calls(folder: Path, address: str) -> str:
    """Run the calls of `kserve_calls.py` in a process with the SDK; returns what they print."""
    done = subprocess.run(
        [sys.executable, str(CALLS), address],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
