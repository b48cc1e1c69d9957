"""Checks of the servers: our database, the processes, MLflow, Airflow, Envoy, and their clocks."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version

import httpx

from perennial import account_file
from perennial.core.certificates.roles import ProcessRole
from perennial.core.governance.identity import Role
from perennial.errors import PerennialError
from perennial.local import supervisor, supervisord
from perennial.local.doctor.finding import Finding, State, attempt, problem
from perennial.settings import Settings
from perennial.wiring import database, monitoring
from perennial.wiring.certificates import page_verify

WAIT = httpx.Timeout(10.0, connect=3.0)
Verify = ssl.SSLContext | bool
SKEW = timedelta(seconds=10)
"""Difference of two clocks from which tokens, certificates and the order of ledger entries suffer."""
DOWN = "not asked: the processes are down"
START = "perennial local up"


def store(settings: Settings) -> Iterator[Finding]:
    """Check that the database answers, and has the schema revision of this code."""
    target = database.schema(settings)

    def look() -> str:
        stored = target.stored()
        target.refuse_other_owner()
        target.refuse_other_revision(stored)
        if stored.is_empty:
            return f"{target.shown} is empty: the first use creates the tables"
        after = f", which the next command upgrades to {stored.pending[-1]}" if stored.pending else ""
        return f"{target.shown} answers; schema revision {stored.revision or 'not recorded'}{after}"

    yield attempt("database", look)


def processes(settings: Settings) -> Iterator[Finding]:
    """Check the state of each process."""
    states = supervisord.states(settings)
    if not states:
        yield Finding("processes", State.DOWN, f"nothing runs for {settings.state}", START)
        return
    others = {name: state for name, state in states.items() if state["statename"] != "RUNNING"}
    for name, state in others.items():
        log = settings.state / "logs" / f"{name}.log"
        yield Finding(f"process {name}", State.PROBLEM, f"is {state['statename']}", f"see its log: {log}")
    if not others:
        yield Finding("processes", State.OK, f"{len(states)} run")


def ports(settings: Settings) -> Iterator[Finding]:
    """Check, while nothing of ours runs, that no other program has one of our ports."""
    taken = [problem("port", error) for error in supervisor.taken_ports(settings)]
    yield from taken or [Finding("ports", State.OK, f"all {len(settings.named_ports)} are free")]


def traffic(settings: Settings) -> Iterator[Finding]:
    """Check Envoy, its routes and the model servers, as `perennial local status` does."""
    if database.schema(settings).stored().pending:
        return  # the check of the routes would read tables that are not there yet
    problems = supervisor.server_problems(settings)
    for name, texts in problems.items():
        for text in texts:
            yield Finding(name, State.PROBLEM, text, "perennial local status, perennial router show")
    if not any(problems.values()):
        yield Finding("routes and servers", State.OK, f"{len(problems)} answer, as the ledger calls for")


def envoy(settings: Settings) -> Iterator[Finding]:
    """Ask Envoy as a client would; any answer will do."""
    yield from _asked("Envoy", f"{settings.envoy_url}/v2/health/live", settings.verify)[1]


def mlflow(settings: Settings) -> Iterator[Finding]:
    """Check MLflow's server, its version, and that it knows our account."""
    url = settings.mlflow_url
    verify = page_verify(settings, ProcessRole.MLFLOW)
    answer, findings = _asked("MLflow", f"{url}/health", verify)
    yield from findings
    if answer is None:
        return
    try:
        accounts = account_file.read(settings.accounts_file)
    except PerennialError:
        return  # `configured.key_files` tells that
    name, account = next((item for item in accounts.items() if item[1].role is Role.TRAINING), (None, None))
    if name is None or account is None:
        return
    search = f"{url}/api/2.0/mlflow/experiments/search?max_results=1"
    signed_in = _get(search, verify, auth=(name, account.password))
    if signed_in is not None and signed_in.is_success:
        yield Finding("MLflow account", State.OK, f"{name} may read")
        running = _get(f"{url}/version", verify, auth=(name, account.password))
        if running is not None and running.is_success:
            yield _same_version("MLflow", running.text.strip(), "mlflow")
    else:
        status = "no answer" if signed_in is None else f"status {signed_in.status_code}"
        fix = f"is {settings.accounts_file} that of this server? perennial local accounts"
        yield Finding("MLflow account", State.PROBLEM, f"{name} is refused: {status}", fix)


def airflow(settings: Settings) -> Iterator[Finding]:
    """Check Airflow's parts, its version, our account, and that it could read every DAG."""
    url = settings.airflow_url
    verify = page_verify(settings, ProcessRole.AIRFLOW)
    answer, findings = _asked("Airflow", f"{url}/api/v2/monitor/health", verify)
    yield from findings
    if answer is None or not answer.is_success:
        return
    for part, state in answer.json().items():
        status = (state or {}).get("status")
        # A part that this installation does not start has no status.
        if status not in ("healthy", None):
            yield Finding(f"Airflow {part}", State.PROBLEM, f"is {status}", "perennial local status; its log")
    running = _get(f"{url}/api/v2/version", verify)
    if running is not None and running.is_success:
        yield _same_version("Airflow", running.json()["version"], "apache-airflow")

    try:
        errors = monitoring.scheduler(settings).get("/api/v2/importErrors", limit=1)
    except PerennialError as error:
        yield problem("Airflow account", error)
        return
    yield Finding("Airflow account", State.OK, f"{settings.airflow_user} may read")
    if count := errors["total_entries"]:
        first = errors["import_errors"][0]["filename"]
        yield Finding(
            "DAGs", State.PROBLEM, f"{count} cannot be read, first {first}", "airflow dags list-import-errors"
        )


def _asked(name: str, url: str, verify: Verify) -> tuple[httpx.Response | None, list[Finding]]:
    """Return the answer of a server, if it answers, and the findings about that and about its clock."""
    before = datetime.now(UTC)
    try:
        answer = httpx.get(url, timeout=WAIT, verify=verify, trust_env=False)
    except httpx.HTTPError as error:
        fix = f"{START}; is the address right, and does PERENNIAL_TLS_CA hold its certificate?"
        return None, [
            Finding(name, State.PROBLEM, f"{url} does not answer: {type(error).__name__}: {error}", fix)
        ]
    return answer, [
        Finding(name, State.OK, f"{url} answers"),
        *clock(name, answer, before, datetime.now(UTC)),
    ]


def clock(name: str, answer: httpx.Response, before: datetime, after: datetime) -> Iterator[Finding]:
    """Compare the server's clock with ours: its time of answering lies between asking and reading, up to a second."""
    try:
        there = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return
    second = timedelta(seconds=1)
    skew = max(before - there - second, there - after, timedelta())
    if skew > SKEW:
        fix = "set both clocks by NTP: timedatectl set-ntp true"
        yield Finding(f"clock of {name}", State.PROBLEM, f"{skew.total_seconds():.0f} s from ours", fix)
    else:
        yield Finding(f"clock of {name}", State.OK, f"as ours, within {SKEW.total_seconds():.0f} s")


def _get(url: str, verify: Verify, auth: tuple[str, str] | None = None) -> httpx.Response | None:
    try:
        return httpx.get(url, timeout=WAIT, verify=verify, trust_env=False, auth=auth)
    except httpx.HTTPError:
        return None


def _same_version(name: str, there: str, package: str) -> Finding:
    here = version(package)
    if there == here:
        return Finding(f"{name} version", State.OK, here)
    fix = f"the same on both sides: pip install {package}=={there}, or upgrade the server"
    return Finding(f"{name} version", State.PROBLEM, f"the server has {there}, this machine {here}", fix)
