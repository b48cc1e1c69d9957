"""Clients by wrk: keep-alive connections that ask again as soon as they are answered, with a small pause."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from live_releases import BODY, PATH, LiveReleases
from load_generator import Load
from release_scenarios import Clients

SCRIPT = """
wrk.method = "POST"
wrk.body = {body}
wrk.headers["content-type"] = "application/json"
function delay() return {pause} end
"""
TALLY = re.compile(r"(\d+) requests in ")
BROKEN = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")


class WrkLoad:
    """Asks while its block runs; `sent` and `failed` are known after it.

    Args:
        pause_ms: between an answer and the next request of a connection.
    """

    def __init__(
        self, url: str, body: dict[str, Any], folder: Path, connections: int = 4, pause_ms: int = 4
    ) -> None:
        self.sent = self.failed = 0
        self.report = ""
        self._script = folder / "ask.lua"
        self._script.write_text(SCRIPT.format(body=f"[[{json.dumps(body)}]]", pause=pause_ms))
        self._command = [
            "wrk", "--threads", "1", "--connections", str(connections), "--duration", "1h",
            "--timeout", "30s", "--script", str(self._script), url,
        ]  # fmt: skip
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> WrkLoad:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        time.sleep(0.2)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self.report, _ = self._process.communicate(timeout=40)
        self.sent = _numbers(TALLY, self.report)
        self.failed = _numbers(BROKEN, self.report) + _numbers(REFUSED, self.report)
        assert self.sent > 0, f"wrk asked nothing:\n{self.report}"


def _numbers(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.search(text)
    return sum(map(int, match.groups())) if match else 0


def clients(live_releases: LiveReleases, folder: Path) -> Callable[[], AbstractContextManager[Clients]]:
    """Clients of the model: wrk where it is installed, else threads of this process, which ask less."""
    settings = live_releases.stack.settings
    if shutil.which("wrk") is None:
        return lambda: Load(settings.port_envoy, PATH, BODY)
    return lambda: WrkLoad(f"{settings.envoy_url}{PATH}", BODY, folder)
