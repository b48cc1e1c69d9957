"""A container run natively: its command, user, files and settings, from an empty folder and without an engine.

Paths of the container are folders below one of ours, its ports are free ones, and nothing of the environment of the
tests reaches it. What only an engine does (the image, the network, limits) is not tested by this.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from serving_stack import free_ports

from containers.described import ROOT, Container

BIN = Path(sys.executable).parent
MOUNTS = ("/state", "/tmp", "/backups", "/project", "/run/secrets", "/secrets", "/cell")
WRITABLE = MOUNTS[:3]
TRIES = 240


class Machine:
    """The folders, ports and processes of containers that share them.

    Args:
        ports: setting -> ports as the containers know them, comma-separated.
    """

    def __init__(self, ports: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="perennial-containers-"))
        self.folder.chmod(0o711)  # other users reach it, unlike pytest's
        known = [port for text in ports.values() for port in text.split(",")]
        self._ports = dict(zip(known, map(str, free_ports(len(known))), strict=True))
        self._settings = dict(ports)
        self._running: dict[str, subprocess.Popen] = {}
        for mount in MOUNTS:
            self.path(mount).mkdir(parents=True)
        shutil.copytree(ROOT / "configs", self.path("/project") / "configs")
        for path in (self.path("/project"), *self.path("/project").rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)

    def path(self, of_container: str) -> Path:
        return self.folder / of_container.strip("/")

    def port(self, of_container: int) -> int:
        return int(self._ports[str(of_container)])

    def run(self, container: Container) -> str:
        """Run a container to its end and return what it prints."""
        done = subprocess.run(
            self._command(container, container.command), env=self._environment(container), cwd=self.path("/project"),
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"{container.name}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, container: Container) -> None:
        log = (self.folder / f"{container.name}.log").open("wb")
        self._running[container.name] = subprocess.Popen(
            self._command(container, container.command), env=self._environment(container),
            cwd=self.path("/project"), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    def until_healthy(self, container: Container) -> None:
        """Wait until the health check of the container succeeds."""
        asked = self._command(container, container.health)
        environment = self._environment(container)

        def healthy() -> bool:
            ended = self._running[container.name].poll()
            assert ended is None, f"{container.name} ended with {ended}: {self.log(container.name)}"
            return subprocess.run(asked, env=environment, capture_output=True, check=False).returncode == 0

        self.until(healthy, f"health of {container.name}")

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait for a condition; asks once a second, because a health check is a process."""
        for _ in range(TRIES):
            if done():
                return
            time.sleep(1)
        logs = "\n".join(f"{name}: {self.log(name)}" for name in self._running)
        raise AssertionError(f"waited in vain for the {what}\n{logs}")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def running(self) -> dict[str, subprocess.Popen]:
        return dict(self._running)

    def stop(self, name: str, seconds: float) -> int:
        """Stop a container as an engine does, by SIGTERM to its first process alone; returns the exit status."""
        process = self._running[name]
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=seconds)

    def remove(self) -> None:
        """Kill what still runs and remove the folder."""
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=20)
        for path in self.path("/project").rglob("*"):
            path.chmod(path.stat().st_mode | 0o200)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self, container: Container, command: Sequence[str]) -> list[str]:
        program, *arguments = command
        path = BIN / program
        return [*self._as_user(container.user), str(path), *map(self._here, arguments)]

    def _environment(self, container: Container) -> dict[str, str]:
        given = {**self._settings, **container.environment}
        return {name: self._here(value) for name, value in given.items()} | {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin"
        }

    def _here(self, text: str) -> str:
        """Return a text of the container with the paths and ports of this machine."""
        mounts = "|".join(MOUNTS)
        text = re.sub(rf"(?<![\w./-])({mounts})(?![\w-])", lambda match: str(self.path(match[1])), text)
        return re.sub(r"(?<![\d.])\d{4}(?!\d)", lambda match: self._ports.get(match[0], match[0]), text)

    def _as_user(self, user: str) -> tuple[str, ...]:
        """Return the prefix of a command that another user runs, and let that user write what the container may.

        A volume belongs to root, and to the group of the user, as Kubernetes gives it (fsGroup).
        """
        uid = int(user.partition(":")[0])
        prefix = prefix_of(uid)
        if prefix:
            for mount in WRITABLE:
                os.chown(self.path(mount), 0, uid)
                self.path(mount).chmod(0o2775)
        return prefix


@cache
def prefix_of(uid: int) -> tuple[str, ...]:
    """Return the prefix of a command that runs without privileges as another user; empty where there is no way to.

    The one privilege left is to read every file, where the Python of the tests lies in a folder of root.
    """
    if os.geteuid() != 0:
        return ()
    for kept in ("-all", "-all,+dac_read_search"):
        prefix = (
            "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs",
            f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}",
        )  # fmt: skip
        again = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'import zoneinfo'])"
        tried = subprocess.run([*prefix, sys.executable, "-c", again], capture_output=True, check=False)
        if tried.returncode == 0:
            return prefix
    return ()
