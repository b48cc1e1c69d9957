"""Which model files may be loaded: a model is a foreign program.

An ONNX file of 300 bytes can loop for ever or ask for gigabytes. So whoever meets a model file for the first time,
the gate and each model server, first lets a child check its operators, load it and run it on hostile rows, under a
limit of address space, of CPU time and of wall time. Only what the child finished is loaded in the process itself.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path

from perennial.model_trial import CPU_SECONDS, MEMORY_BYTES, WALL_SECONDS, Probe, Trial


class ModelTrials:
    """The process that forks for each trial; it is started at the first, and again where it has ended.

    Args:
        niceness: of the children.
    """

    def __init__(self, niceness: int = 0) -> None:
        self._niceness = niceness
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._sound: set[str] = set()

    def problem(self, model: bytes) -> str:
        """Return what is wrong with the bytes of a model file, or an empty text.

        Only a sound answer is remembered, by digest: a file that did not finish may have met a busy machine. It is
        remembered in this process alone, since a stored one could be written by somebody who cannot sign.
        """
        digest = hashlib.sha256(model).hexdigest()
        if digest in self._sound:
            return ""
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(model)
            file.flush()
            problem = self.probe(Trial(file.name, niceness=self._niceness)).problem
        if not problem:
            self._sound.add(digest)
        return problem

    def probe(self, trial: Trial) -> Probe:
        """Try a file."""
        with self._lock:
            return (
                self._ask(trial)
                or self._ask(trial)
                or Probe("cannot be tried: the process of the trials ended")
            )

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            with self._process as process:
                process.kill()

    def _ask(self, trial: Trial) -> Probe | None:
        """Return the result; None where the process has ended, for want of trials or otherwise."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "perennial.model_trial"),
                env=bare_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            atexit.register(self.stop)
        try:
            self._process.stdin.write(json.dumps(asdict(trial)) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            return Probe(**json.loads(line)) if line else None
        except (BrokenPipeError, ValueError):
            return None


def bare_environment() -> dict[str, str]:
    """Return the environment of a child that reads a foreign file: no secret, one thread."""
    environment = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "LANG") if key in os.environ}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
    return environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


_TRIALS = ModelTrials()


def probe(
    path: Path,
    memory_bytes: int = MEMORY_BYTES,
    cpu_seconds: int = CPU_SECONDS,
    wall_seconds: float = WALL_SECONDS,
) -> Probe:
    """Return what is wrong with a model file, without loading it in this process."""
    return _TRIALS.probe(Trial(str(path), memory_bytes, cpu_seconds, wall_seconds))


def model_problem(model: bytes) -> str:
    """Return what is wrong with the bytes of a model file; a sound one is tried once per process."""
    return _TRIALS.problem(model)
