"""Workers of Airflow's queues: their names, and whether they answer."""

from __future__ import annotations

import socket

from perennial.settings import Settings

SECONDS = 2.0
"""Time in which a worker that is up answers."""


def node(queue: str) -> str:
    """Return the name of this machine's worker of a queue, by which Celery knows it."""
    return f"{queue}@{socket.gethostname()}"


def problem(settings: Settings, name: str) -> str:
    """Return why a worker does not answer through the broker; an empty text when it does."""
    from celery import Celery
    from kombu.exceptions import OperationalError

    with (
        Celery(broker=settings.celery_broker_url, set_as_current=False) as app,
        app.connection_for_write(connect_timeout=SECONDS) as connection,
    ):
        try:
            answers = app.control.inspect([name], SECONDS, connection=connection).ping()
        except (OperationalError, *connection.recoverable_connection_errors) as error:
            return f"PERENNIAL_CELERY_BROKER_URL: {error}"
    return "" if answers else f"{name} does not answer yet"
