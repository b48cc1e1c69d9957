"""Set-up, start and stop of all processes of this machine under supervisord, which restarts what dies."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from xmlrpc.client import Fault

import httpx

from perennial import account_file
from perennial.core.release.traffic import PoolName
from perennial.errors import PoolUnavailable, PortTaken, RouterUnavailable, StoreUnavailable, ToolError
from perennial.local import airflow, databases, handed_secrets, supervisord, unix_accounts
from perennial.local.handed_secrets import base_environment
from perennial.local.processes import Process, server_name, table
from perennial.serving.access.client_keys import refuse_open_door
from perennial.settings import Settings
from perennial.state_folder import mark, refuse_other_folder
from perennial.wiring import database, keys

Say = Callable[[str], None]


def server_problems(settings: Settings) -> dict[str, list[str]]:
    """Return by process name why Envoy and each model server are not as they should be; empty lists when they are."""
    from perennial import catalog
    from perennial.flows.release.recorded_route import off_record
    from perennial.wiring import releasing, traffic

    names = {port: server_name(pool, port) for pool in PoolName for port in settings.ports(pool)}
    servers: dict[str, list[str]] = {}
    try:
        known = traffic.pool(settings).problems()
        servers = {names.get(server, f"server {server}"): lines for server, lines in known.items()}
        envoy = list(traffic.router(settings).differences())
        if settings.plane != "serving":  # which may not read the ledger
            envoy += off_record(catalog.names(settings), releasing.recorded_route_ports(settings))
    except (PoolUnavailable, RouterUnavailable, StoreUnavailable) as error:
        envoy = [error.message]
    if settings.plane == "control":
        lines = [f"{server}: {line}" for server, lines in servers.items() for line in lines]
        return {"machines": [*envoy, *lines]}
    return {"envoy": envoy, **servers}


def check_ports(settings: Settings) -> None:
    """Check that every port is free before anything starts.

    Raises:
        PortTaken: a port is taken; names the port and the variable that changes it.
    """
    for taken in taken_ports(settings):
        raise taken


def taken_ports(settings: Settings) -> Iterator[PortTaken]:
    """Yield an error for each port that two services share or that another process has."""
    seen: dict[int, str] = {}
    for name, port in settings.named_ports.items():
        serves = name == "Envoy" or name.startswith("model server")
        if settings.plane != "all" and serves is not (settings.plane == "serving"):
            continue  # the other half listens there
        if port in seen:
            yield PortTaken(
                f"port {port} is configured for both {seen[port]} and {name}", hint="set different ports"
            )
            continue
        seen[port] = name
        with contextlib.closing(socket.socket()) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((settings.listening_host(name), port))
            except OSError as error:
                yield PortTaken(
                    f"port {port} for {name} is taken: {error.strerror}",
                    hint=f"stop the process that listens there (perhaps another Perennial: make down), "
                    f"or set {_variable(name)}",
                )


def _variable(name: str) -> str:
    if name.startswith("model server"):
        return f"PERENNIAL_PORTS_{name.split()[2].upper()}{'_GRPC' if name.endswith('gRPC') else ''}"
    return "PERENNIAL_PORT_" + name.upper().replace(" ", "_")


def up(settings: Settings, say: Say, timeout: float = 240.0) -> None:
    """Start all processes that are not up, and wait until each answers."""
    if not supervisord.running(settings):
        refuse_open_door(settings)
        databases.check(settings)
        unix_accounts.check(settings)
        unix_accounts.check_reach(settings)
        check_ports(settings)
        set_up(settings, say)
        database.schema(settings).prepare()  # else each process would refuse the database by itself
        _start(settings, say)
    wait_ready(settings, say, timeout)


def set_up(settings: Settings, say: Say) -> None:
    """Make state folders, secrets and accounts, and say the generated passwords; idempotent.

    An account that left PERENNIAL_PEOPLE or changed its role loses its tokens of the command line. A serving machine
    has neither accounts nor a key that signs.

    Raises:
        OtherTenant: the state folder belongs to another tenant.
    """
    refuse_other_folder(settings.state, settings.tenant)
    if settings.tenant is not None:
        mark(settings.state, settings.tenant)
    if settings.plane == "serving":
        (settings.state / "logs").mkdir(parents=True, exist_ok=True)
        for folder in (settings.state, settings.state / "logs"):
            folder.chmod(0o700)
        return
    for folder in (settings.state / "logs", settings.mlflow_dir / "artifacts", settings.airflow_dir):
        folder.mkdir(parents=True, exist_ok=True)
    if settings.unix_accounts is None:  # else the start gives each folder its owner and mode
        for folder in (settings.state, settings.state / "logs", settings.mlflow_dir, settings.airflow_dir):
            folder.chmod(0o700)
    airflow.make_secrets(settings)
    # Before the accounts file is replaced: killed between, the next set-up still knows whose tokens to revoke.
    _end_tokens(settings, say)
    fresh = account_file.make(settings.accounts_file, settings.accounts, settings.given_passwords)
    airflow.make_passwords(settings)
    airflow.make_configuration(settings)
    if keys.make_signing_key(settings):
        say(f"key {settings.signing_key_file} signs the files of trained models; only their like is served")
    for name, account in fresh.items():
        if account.role.is_person():
            say(f"account {name}, role {account.role}, password {account.password}")
    if fresh:
        say(f"passwords are shown only now; {settings.accounts_file}, readable only by you, keeps them")


def _end_tokens(settings: Settings, say: Say) -> None:
    if not settings.accounts_file.is_file():
        return
    before = {(name, account.role) for name, account in account_file.read(settings.accounts_file).items()}
    if not before - {(account.name, account.role) for account in settings.accounts}:
        return
    from perennial.flows.governance.identity import revoke_left
    from perennial.wiring.people import known_accounts

    store, tokens = database.store(settings), database.tokens(settings)
    for token in revoke_left(known_accounts(settings), tokens, store.ledger, datetime.now(UTC)):
        say(f"token {token.id} of {token.account}, {token.role}, is revoked")


def _start(settings: Settings, say: Say) -> None:
    environment = base_environment(settings)
    handed_secrets.write(settings)
    for name in handed_secrets.kept_back(os.environ):
        say(f"{name} is handed to no process; give its tool a file (docs/guide/operations.md)")
    processes = table(settings)
    migrates = settings.plane != "serving"
    say("starting supervisord" + "; Airflow's database is migrated meanwhile" * migrates)
    unix_accounts.own(settings)
    supervisord.launch(settings, processes, environment)
    if not migrates:
        return
    try:
        airflow.migrate(settings, environment)
        unix_accounts.own(settings)
    except ToolError:
        down(settings, say)
        raise
    for process in processes:
        if process.after_migration:
            with contextlib.suppress(Fault):  # already started by an earlier, interrupted `up`
                supervisord.control(settings).startProcess(process.name, False)


def wait_ready(settings: Settings, say: Say, timeout: float) -> None:
    """Wait until every process is ready; print a line for each.

    Raises:
        ToolError: a process keeps exiting or is not ready in time; names the process and its log.
    """
    started = time.monotonic()
    waiting = {process.name: process for process in table(settings)}
    reasons: dict[str, str] = {}
    with httpx.Client(timeout=5.0, verify=settings.verify) as client:
        while waiting:
            for name, process in list(waiting.items()):
                try:
                    reasons[name] = process.check(client)
                except (httpx.HTTPError, ValueError) as error:
                    reasons[name] = type(error).__name__
                if not reasons[name]:
                    say(f"ready after {time.monotonic() - started:5.1f} s  {process.shows}")
                    del waiting[name]
            _raise_if_failed(settings, waiting, reasons, late=time.monotonic() - started > timeout)
            time.sleep(0.5)


def _raise_if_failed(
    settings: Settings, waiting: dict[str, Process], reasons: dict[str, str], late: bool
) -> None:
    states = supervisord.states(settings)
    if waiting and not states:
        raise ToolError(
            "supervisord has ended while its processes were starting",
            hint="did somebody stop them (make down)? Else see supervisord.log in the folder of logs",
        )
    fatal = [name for name in waiting if states.get(name, {}).get("statename") == "FATAL"]
    if not fatal and not (late and waiting):
        return
    name = fatal[0] if fatal else next(iter(waiting))
    log = settings.state / "logs" / f"{name}.log"
    tail = log.read_text(errors="replace")[-1200:] if log.is_file() else ""
    raise ToolError(
        f"{name} did not become ready ({'it keeps exiting' if fatal else reasons.get(name, 'no answer')})\n{tail}",
        hint=f"see its log: {log}",
    )


def down(settings: Settings, say: Say, timeout: float = 180.0) -> None:
    """Stop all processes, and return when all have ended.

    Raises:
        ToolError: supervisord did not end in time.
    """
    path = supervisord.socket_path(settings)
    if not supervisord.running(settings):
        path.unlink(missing_ok=True)
        say("nothing of ours runs")
        return
    control = supervisord.control(settings)
    pid = control.getPID()
    control.shutdown()
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
