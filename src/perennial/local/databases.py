"""Check that each part has a database of its own."""

from __future__ import annotations

from perennial.backend_settings import CELERY, LOCAL
from perennial.errors import SettingsError
from perennial.settings import PREFIX, Settings

OWN = ("database_url", "mlflow_database_url", "airflow_database_url", "tuning_url")
"""Settings of which no two may name the same database: two sets of migrations would share one table of versions."""
SAME = {"localhost": "127.0.0.1", "::1": "127.0.0.1", "": "127.0.0.1"}
PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}


def check(settings: Settings) -> None:
    """Check that no two settings name the same database, whatever role and driver they name.

    Raises:
        SettingsError: two do; names both. Or tasks shall run in workers, which SQLite cannot serve.
    """
    if settings.executor != LOCAL and settings.airflow_database_url is None:
        raise SettingsError(
            f"Airflow's {settings.executor} needs a database server: its workers cannot share a file",
            hint="PERENNIAL_AIRFLOW_DATABASE_URL=postgresql+psycopg://...",
        )
    if settings.executor == CELERY and settings.celery_broker_url is None:
        raise SettingsError(
            f"Airflow's {CELERY} needs a broker", hint="PERENNIAL_CELERY_BROKER_URL=redis://..."
        )
    _check_recorder(settings)
    if settings.online_store_reader is not None and settings.online_store is None:
        raise SettingsError(
            "PERENNIAL_ONLINE_STORE_READER is set and PERENNIAL_ONLINE_STORE is not: nobody would publish there",
            hint="set both, or on a serving machine PERENNIAL_ONLINE_STORE alone: docs/guide/production.md",
        )
    seen: dict[tuple[str, str, int | None, str], str] = {}
    for name in OWN:
        address = getattr(settings, name)
        if address is None:
            continue
        variable, place = f"{PREFIX}{name.upper()}", _place(address)
        if place in seen:
            raise SettingsError(
                f"{seen[place]} and {variable} name the same database, {place[3]!r} at {place[1]}",
                hint="a database and a role for each: docs/guide/production.md",
            )
        seen[place] = variable


def _check_recorder(settings: Settings) -> None:
    """Check that the recorder's address is another way into the database of releases and ledger."""
    recorder, plant = settings.recorder_database_url, settings.database_url
    if recorder is None:
        return
    if plant is None or _place(recorder) != _place(plant):
        raise SettingsError(
            "PERENNIAL_RECORDER_DATABASE_URL and PERENNIAL_DATABASE_URL name different databases",
            hint="the same database by another role, admitted with: perennial store admit ROLE --as recorder",
        )
    if _role(recorder) == _role(plant):
        raise SettingsError(
            "PERENNIAL_RECORDER_DATABASE_URL has the role of PERENNIAL_DATABASE_URL, which may do more than record",
            hint="a role of its own, or leave the setting out: docs/guide/production.md",
        )


def _role(address: str) -> str | None:
    from sqlalchemy.engine import make_url

    return make_url(address).username


def _place(address: str) -> tuple[str, str, int | None, str]:
    """Return kind, host, port and name of a database."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except ArgumentError:  # a path, say
        return "", "", None, address
    kind, host = url.get_backend_name(), (url.host or "").lower()
    return kind, SAME.get(host, host), url.port or PORTS.get(kind), url.database or ""
