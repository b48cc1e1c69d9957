"""supervisord: its configuration file, its start, and its XML-RPC interface."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from perennial import files
from perennial.errors import ToolError
from perennial.local.processes import Process
from perennial.settings import Settings


def socket_path(settings: Settings) -> Path:
    """Return a short path of our own: a Unix socket's path must not be longer than about 100 bytes."""
    name = hashlib.sha256(str(settings.state).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"perennial-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ToolError(f"{folder} belongs to another user", hint="set TMPDIR to a folder of your own")
    return folder / f"{name}.sock"


def control(settings: Settings) -> Any:
    """Return supervisord's XML-RPC interface over its socket."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{socket_path(settings)}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def running(settings: Settings) -> bool:
    """Return whether supervisord runs for this state folder; one that is ending does not."""
    return _asked(
        settings, lambda supervisor: supervisor.getState()["statename"] in ("RUNNING", "RESTARTING")
    )


def states(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return supervisord's state (statename, pid, start, ...) by process name; empty when it is down."""
    processes = (
        _asked(settings, lambda supervisor: supervisor.getAllProcessInfo()) if running(settings) else ()
    )
    return {process["name"]: process for process in processes or ()}


def _asked(settings: Settings, ask: Callable[[Any], Any]) -> Any:
    """Return what supervisord answers; False where it does not run, or refuses since somebody else ends it."""
    from supervisor.xmlrpc import Faults

    if not socket_path(settings).exists():
        return False
    try:
        return ask(control(settings))
    except OSError:
        return False
    except Fault as fault:
        if fault.faultCode != Faults.SHUTDOWN_STATE:
            raise
        return False


def launch(settings: Settings, processes: Sequence[Process], environment: Mapping[str, str]) -> None:
    """Write the configuration and start supervisord in the background."""
    config = write_config(settings, processes)
    subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
        env=environment, check=True, cwd=settings.project,
    )  # fmt: skip


def write_config(settings: Settings, processes: Sequence[Process]) -> Path:
    """Write supervisord's configuration file and return its path."""
    logs = settings.state / "logs"
    lines = [
        "[supervisord]",
        f"logfile={logs / 'supervisord.log'}",
        f"pidfile={settings.state / 'supervisord.pid'}",
        f"directory={settings.project}",
        "loglevel=info",
        *(["user=root"] if any(process.owner is not None for process in processes) else []),
        "umask=077",  # what the processes write, logs included, is for their owner only
        f"[unix_http_server]\nfile={socket_path(settings)}\nchmod=0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        *(line for process in processes for line in _program(process, logs)),
    ]
    path = settings.state / "supervisord.conf"
    files.write_text(path, "\n".join(lines) + "\n", files.PRIVATE)
    return path


def _program(process: Process, logs: Path) -> Iterator[str]:
    yield f"[program:{process.name}]"
    options = {
        "command": " ".join(f'"{part}"' if " " in part else part for part in process.command).replace("%", "%%"),
        "autostart": "false" if process.after_migration else "true",
        "autorestart": "true", "startsecs": 1, "startretries": 5,
        "stopasgroup": "true", "killasgroup": "true", "stopwaitsecs": 6,
        "redirect_stderr": "true", "stdout_logfile": f"{logs / process.name}.log",
        "stdout_logfile_maxbytes": "10MB", "stdout_logfile_backups": 2,
    }  # fmt: skip
    environment = process.environment
    if process.owner is not None:
        options |= {"user": process.owner.name, "umask": process.owner.umask}
        names = dict.fromkeys(("USER", "LOGNAME"), process.owner.name)
        environment = {**environment, **names, "HOME": process.owner.home}
    if environment:
        pairs = (f'{name}="{value}"'.replace("%", "%%") for name, value in environment.items())
        options["environment"] = ",".join(pairs)
    yield from (f"{name}={value}" for name, value in options.items())
