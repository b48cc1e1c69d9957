"""BentoML's supervisor runs any command that its control socket gets: only the own account may reach that."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.traffic


def sockets_of(process: psutil.Process) -> list[Path]:
    return [
        Path(one.laddr)
        for one in process.net_connections(kind="unix")
        if isinstance(one.laddr, str) and one.laddr.startswith("/") and Path(one.laddr).name == "control"
    ]


def test_model_servers_listen_only_on_their_ports(serving_stack):
    settings = serving_stack.settings
    servers = {*settings.ports("stable"), *settings.ports("canary")}
    ports = servers | {*settings.grpc_ports("stable"), *settings.grpc_ports("canary")}
    listening: dict[int, set[int]] = {}
    for process in psutil.Process(os.getpid()).children(recursive=True):
        found = {c.laddr.port for c in process.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}
        if found & ports:
            listening[process.pid] = found
    assert set().union(*listening.values()) == ports
    folders = {path.parent for pid in listening for path in sockets_of(psutil.Process(pid))}
    assert len(folders) == len(servers), "a control socket per server"
    for folder in folders:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == os.getuid()
