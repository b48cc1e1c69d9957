"""Every figure of the guide is printed by a benchmark that still starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_it_starts(benchmark):
    done = subprocess.run(
        [sys.executable, str(benchmark), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]
    assert "Run: python benchmarks/" in done.stdout or "usage:" in done.stdout
