"""Every figure of the guide is printed by a benchmark that still starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("*.py"))

SCRIPT = """
import contextlib, io, json, runpy, sys
ended, path = {}, list(sys.path)
for file in sys.argv[1:]:
    sys.argv, sys.path[:] = [file, "--help"], [file.rpartition("/")[0], *path]
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        ended[file] = (end.code, shown.getvalue())
print(json.dumps(ended))
"""
"""One process for all of them: each would import the same libraries for seconds."""


@pytest.fixture(scope="module")
def ended() -> dict[str, tuple[int, str]]:
    """Return the exit code and the help of each benchmark."""
    line = [sys.executable, "-P", "-c", SCRIPT, *map(str, BENCHMARKS)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_it_starts(ended, benchmark):
    code, shown = ended[str(benchmark)]
    assert not code
    assert "Run: python benchmarks/" in shown or "usage:" in shown
