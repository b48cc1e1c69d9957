"""The programs of Prometheus and Alertmanager, as Debian names them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

PROMETHEUS, PROMTOOL, AMTOOL = "prometheus", "promtool", "amtool"
ALERTMANAGER = "prometheus-alertmanager"


def program(name: str) -> str:
    """Return the path of a program; without it the test is skipped, but not in CI."""
    path = shutil.which(name)
    if path is None and not os.environ.get("CI"):
        pytest.skip(f"no {name} on this machine")
    assert path, f"CI needs {name}"
    return path


def run(name: str, *arguments: object) -> str:
    """Return what a program prints; an error code fails the test with it."""
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
