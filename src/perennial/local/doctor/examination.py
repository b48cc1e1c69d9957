"""All checks of an installation, each within a deadline, so that what hangs is named and hangs nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from perennial.errors import PerennialError
from perennial.local.doctor import (
    answering,
    backends,
    buckets,
    certificates,
    configured,
    inside,
    issuer,
    stored,
)
from perennial.local.doctor.finding import Finding, State, problem, without_secrets
from perennial.settings import Settings

Check = Callable[[Settings], Iterable[Finding]]

HERE: tuple[Check, ...] = (
    configured.values, configured.tenant, configured.key_files, configured.specs, configured.packages,
    stored.rights, stored.disks, certificates.tls, certificates.signing,
    inside.inside,
)  # fmt: skip
"""Checks of this machine alone."""
EVERYWHERE: tuple[Check, ...] = (
    answering.store, backends.data_remote, backends.online_store, backends.channels, backends.addresses,
    buckets.answers, buckets.encryption_at_rest, issuer.issuer,
)  # fmt: skip
"""Checks of what need not be a process of ours."""
RUNNING: dict[str, tuple[Check, ...]] = {
    "all": (answering.mlflow, answering.airflow, answering.envoy, answering.traffic),
    "control": (answering.mlflow, answering.airflow, answering.traffic),
    "serving": (answering.envoy, answering.traffic),
}
"""Half of the plant -> checks of its processes, while they run."""


DOWN_NAMES: dict[Check, str] = {
    answering.mlflow: "MLflow", answering.airflow: "Airflow", answering.envoy: "Envoy",
}  # fmt: skip
"""Check -> what it is about, where the processes are down."""
NAMES = {
    "store": "database", "mlflow": "MLflow", "airflow": "Airflow", "envoy": "Envoy", "channels": "messages",
    "traffic": "routes and servers",
}  # fmt: skip
"""Function of a check -> its name in the table, where these differ."""


def examine(settings: Settings, seconds: float) -> list[Finding]:
    """Run every check; what has no answer in time is a problem.

    Args:
        seconds: for all checks together that ask somebody else.
    """
    findings = [finding for check in HERE for finding in _guarded(check, settings)]
    processes = _in_time([answering.processes], settings, seconds)
    down = any(finding.state is State.DOWN for finding in processes)
    is_set_up = (settings.state / "secrets" / "internal").is_file()
    checks = list(EVERYWHERE)
    if down:
        checks.append(answering.ports)
        for check in (check for check in RUNNING[settings.plane] if check is not answering.traffic):
            if check is answering.mlflow and _is_elsewhere(settings):
                checks.append(check)
            else:
                name = DOWN_NAMES[check]
                processes.append(Finding(name, State.DOWN, answering.DOWN, answering.START))
    elif is_set_up:  # else building the adapters would make the secret
        checks += RUNNING[settings.plane]
    return without_secrets([*findings, *processes, *_in_time(checks, settings, seconds)], settings)


def _is_elsewhere(settings: Settings) -> bool:
    """Return whether the settings name an MLflow server that is not of `perennial local up`."""
    url = settings.tracking_url or ""
    return url.startswith("http") and url.rstrip("/") != settings.pages_mlflow


def _in_time(checks: Sequence[Check], settings: Settings, seconds: float) -> list[Finding]:
    """Run checks side by side; a thread that hangs is left behind, and ends with this process."""
    results: dict[Check, list[Finding]] = {}

    def run(check: Check) -> None:
        results[check] = list(_guarded(check, settings))

    threads = [threading.Thread(target=run, args=(check,), daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [finding for check in checks for finding in results.get(check, [_late(check, seconds)])]


def _late(check: Check, seconds: float) -> Finding:
    what = f"no answer within {seconds:g} s"
    return Finding(
        _name(check), State.PROBLEM, what, "is the address right, and the network? --timeout allows more"
    )


def _guarded(check: Check, settings: Settings) -> Iterator[Finding]:
    """Yield what a check finds; a check that fails itself is a problem, and the others go on."""
    try:
        yield from check(settings)
    except PerennialError as error:
        yield problem(_name(check), error)
    except Exception as error:  # noqa: BLE001 one broken check must not hide the others
        yield Finding(_name(check), State.PROBLEM, f"could not be checked: {type(error).__name__}: {error}")


def _name(check: Check) -> str:
    return NAMES.get(check.__name__, check.__name__.replace("_", " "))
