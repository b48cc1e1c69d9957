"""A Redis of our own on a free loopback port, with a password."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from redis import Redis, RedisError
from serving_stack import free_ports

PROGRAM = shutil.which("redis-server")
PASSWORD = "a,b=1e5 ü/@"
"""With what an address has to quote."""
QUOTED = "a%2Cb%3D1e5%20%C3%BC%2F%40"


class RedisServer:
    """Keeps its values over `stop` and `start`."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._folder = folder
        self.url = f"redis://:{QUOTED}@127.0.0.1:{self.port}/3"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert PROGRAM is not None
        command = [
            PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", "",
            "--appendonly", "no", "--requirepass", PASSWORD,
        ]  # fmt: skip
        log = self._folder / "log"
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        end = time.monotonic() + 60
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except RedisError:
                running = self.process.poll() is None
                assert running, log.read_text()[-2000:]
                assert time.monotonic() < end, "Redis does not answer"
                time.sleep(0.05)

    def client(self) -> Redis:
        return Redis.from_url(self.url)

    def stop(self) -> None:
        """End the server; it writes its values to the disk."""
        if self.process is None:
            return
        with self.client() as client:
            client.shutdown(save=True)
        self.process.wait(60)
        self.process = None
