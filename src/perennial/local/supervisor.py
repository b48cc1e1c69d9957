"""Our processes under supervisord: it restarts what dies and stops whole process groups."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xmlrpc.client import Fault, ServerProxy

import httpx

from perennial import account_file
from perennial.core.release.traffic import PoolName
from perennial.errors import PortTaken, ToolError
from perennial.local import airflow
from perennial.local.processes import Process, base_environment, server_name, table
from perennial.settings import Settings

Say = Callable[[str], None]


def socket_path(settings: Settings) -> Path:
    """A short path of our own: a Unix socket may not be longer than some 100 bytes."""
    name = hashlib.sha256(str(settings.state).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"perennial-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ToolError(f"{folder} belongs to somebody else", hint="set TMPDIR to a folder of your own")
    return folder / f"{name}.sock"


def control(settings: Settings) -> ServerProxy:
    """supervisord's own XML-RPC interface over its socket."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{socket_path(settings)}")
    return ServerProxy("http://127.0.0.1", transport=transport)


def running(settings: Settings) -> bool:
    if not socket_path(settings).exists():
        return False
    try:
        return control(settings).supervisor.getState()["statename"] in ("RUNNING", "RESTARTING")
    except OSError:
        return False


def states(settings: Settings) -> dict[str, dict]:
    """Process name -> what supervisord knows (statename, pid, start, ...); empty when it is down."""
    if not running(settings):
        return {}
    return {one["name"]: one for one in control(settings).supervisor.getAllProcessInfo()}


def server_problems(settings: Settings) -> dict[str, list[str]]:
    """Process name of each model server -> why it is not ready, in its own words; empty where it is."""
    from perennial.wiring import traffic

    by_port = traffic.pool(settings).problems()
    return {server_name(pool, port): by_port[port] for pool in PoolName for port in settings.ports(pool)}


def check_ports(settings: Settings) -> None:
    """Every port must be free before anything starts.

    Raises:
        PortTaken: names the first that is taken and the variable that moves it.
    """
    seen: dict[int, str] = {}
    for name, port in settings.named_ports.items():
        if port in seen:
            raise PortTaken(
                f"port {port} is meant for both {seen[port]} and {name}", hint="give each its own"
            )
        seen[port] = name
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise PortTaken(
                    f"port {port} for {name} is taken: {error.strerror}",
                    hint=f"stop what listens there (is another one of ours up? make down), or set {_variable(name)}",
                ) from error


def _variable(name: str) -> str:
    if name.startswith("model server"):
        return f"PERENNIAL_PORTS_{name.split()[2].upper()}"
    return "PERENNIAL_PORT_" + name.upper().replace(" ", "_")


def up(settings: Settings, say: Say, timeout: float = 240.0) -> None:
    """Start everything and wait until each part answers; what is up already stays."""
    if not running(settings):
        check_ports(settings)
        set_up(settings, say)
        _start(settings, say)
    wait_ready(settings, say, timeout)


def set_up(settings: Settings, say: Say) -> None:
    """State folders, secrets and accounts; says the passwords that it generated. Again changes nothing.

    Who left PERENNIAL_PEOPLE, or has another role there, loses the tokens of the command line.
    """
    for folder in (settings.state / "logs", settings.mlflow_dir / "artifacts", settings.airflow_dir):
        folder.mkdir(parents=True, exist_ok=True)
    airflow.make_secrets(settings)
    # Before the file forgets who left: killed between, the next set-up ends their tokens.
    _end_tokens(settings, say)
    fresh = account_file.make(settings.accounts_file, settings.accounts, settings.given_passwords)
    airflow.make_passwords(settings)
    for name, one in fresh.items():
        if one.role.is_person():
            say(f"account {name}, role {one.role}, password {one.password}")
    if fresh:
        say(f"shown this once; kept in {settings.accounts_file}, which only you can read")


def _end_tokens(settings: Settings, say: Say) -> None:
    if not settings.accounts_file.is_file():
        return
    before = {name: one.role for name, one in account_file.read(settings.accounts_file).items()}
    if not set(before.items()) - {(one.name, one.role) for one in settings.accounts}:
        return
    from perennial.flows.governance.identity import revoke_left
    from perennial.wiring import database

    store, tokens = database.store(settings), database.tokens(settings)
    for one in revoke_left(before, settings.accounts, tokens, store.ledger, datetime.now(UTC)):
        say(f"token {one.id} of {one.account}, {one.role}, is revoked")


def _start(settings: Settings, say: Say) -> None:
    env = base_environment(settings)
    config = write_config(settings)
    say("starting supervisord; Airflow's database is migrated meanwhile")
    subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
        env=env, check=True, cwd=settings.project,
    )  # fmt: skip
    try:
        airflow.migrate(settings, env)
    except ToolError:
        down(settings, say)
        raise
    for process in table(settings):
        if process.after_migration:
            with contextlib.suppress(Fault):  # started already by an earlier, interrupted `up`
                control(settings).supervisor.startProcess(process.name, False)


def write_config(settings: Settings, processes: Sequence[Process] | None = None) -> Path:
    """supervisord's configuration file, made anew.

    Args:
        processes: those to supervise; by default the whole table.
    """
    logs = settings.state / "logs"
    lines = [
        "[supervisord]",
        f"logfile={logs / 'supervisord.log'}",
        f"pidfile={settings.state / 'supervisord.pid'}",
        f"directory={settings.project}",
        "loglevel=info",
        f"[unix_http_server]\nfile={socket_path(settings)}\nchmod=0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        *(
            line
            for process in (table(settings) if processes is None else processes)
            for line in _program(process, logs)
        ),
    ]
    path = settings.state / "supervisord.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def _program(process: Process, logs: Path) -> Iterator[str]:
    yield f"[program:{process.name}]"
    yield "command=" + " ".join(_quoted(part) for part in process.command)
    yield f"autostart={'false' if process.after_migration else 'true'}"
    yield "autorestart=true"
    yield "startsecs=1"
    yield "startretries=5"
    yield "stopasgroup=true"
    yield "killasgroup=true"
    yield "stopwaitsecs=6"
    yield "redirect_stderr=true"
    yield f"stdout_logfile={logs / process.name}.log"
    yield "stdout_logfile_maxbytes=10MB"
    yield "stdout_logfile_backups=2"
    if process.environment:
        pairs = (f'{name}="{_percent(value)}"' for name, value in process.environment.items())
        yield "environment=" + ",".join(pairs)


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(part: str) -> str:
    return f'"{_percent(part)}"' if " " in part else _percent(part)


def wait_ready(settings: Settings, say: Say, timeout: float) -> None:
    """Print a line as each process becomes ready.

    Raises:
        ToolError: one gave up or did not answer in time; names it and its log.
    """
    started = time.monotonic()
    waiting = {process.name: process for process in table(settings)}
    reasons: dict[str, str] = {}
    with httpx.Client(timeout=5.0) as client:
        while waiting:
            for name, process in list(waiting.items()):
                try:
                    reasons[name] = process.probe(client)
                except (httpx.HTTPError, ValueError) as error:
                    reasons[name] = type(error).__name__
                if not reasons[name]:
                    say(f"ready after {time.monotonic() - started:5.1f} s  {process.shows}")
                    del waiting[name]
            _give_up(settings, waiting, reasons, started, timeout)
            time.sleep(0.5)


def _give_up(settings, waiting: dict[str, Process], reasons: dict[str, str], started: float, timeout: float):
    fatal = [
        name for name, one in states(settings).items() if one["statename"] == "FATAL" and name in waiting
    ]
    late = time.monotonic() - started > timeout
    if not fatal and not (late and waiting):
        return
    name = fatal[0] if fatal else next(iter(waiting))
    log = settings.state / "logs" / f"{name}.log"
    tail = log.read_text(errors="replace")[-1200:] if log.is_file() else ""
    raise ToolError(
        f"{name} did not become ready ({'it keeps exiting' if fatal else reasons.get(name, 'no answer')})\n{tail}",
        hint=f"its log: {log}",
    )


def down(settings: Settings, say: Say, timeout: float = 60.0) -> None:
    """Stop everything; nothing is left when it returns.

    Raises:
        ToolError: supervisord did not end in time.
    """
    path = socket_path(settings)
    if not running(settings):
        path.unlink(missing_ok=True)
        say("nothing of ours runs")
        return
    proxy = control(settings).supervisor
    pid = proxy.getPID()
    proxy.shutdown()
    deadline = time.monotonic() + timeout
    while _alive(pid):
        if time.monotonic() > deadline:
            raise ToolError(f"supervisord (pid {pid}) did not stop in {timeout:.0f} s", hint=f"kill {pid}")
        time.sleep(0.2)
    path.unlink(missing_ok=True)
    say("all processes stopped")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
