"""How both MLflow adapters talk to their server: short patience, and one error when it is away."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A training must not hang for minutes on a server that is down; read by MLflow on its import.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import httpx
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SADeprecationWarning, SQLAlchemyError

from perennial.errors import TrackerRefused, TrackerUnavailable

PROBE_SECONDS = 5.0
REFUSED = (401, 403)
UNKNOWN = "error code 401"
"""In the text of an answer that MLflow's client cannot read as its own: its authentication answers in HTML."""


def connect(url: str) -> MlflowClient:
    """A client of a server (`http...`) or of a SQLite file, which is created with its folder."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    probe(url)
    with reaching(url), warnings.catch_warnings():
        # Of MLflow's own tables; nothing that a user could act on.
        warnings.simplefilter("ignore", SADeprecationWarning)
        return MlflowClient(tracking_uri=url, registry_uri=url)


def probe(url: str) -> None:
    """Ask a server for a sign of life.

    Raises:
        TrackerUnavailable: it does not answer.
    """
    if not url.startswith("http"):
        return
    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=PROBE_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        raise _unavailable(url, error) from error


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn failures of the connection, and only those, into TrackerUnavailable."""
    try:
        yield
    except (requests.ConnectionError, requests.Timeout, SQLAlchemyError) as error:
        raise _unavailable(url, error) from error
    except MlflowException as error:
        if error.error_code in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}:
            raise _unavailable(url, error) from error
        if error.get_http_status_code() in REFUSED or UNKNOWN in str(error):
            raise _refused(url, error) from error
        raise


def _refused(url: str, error: Exception) -> TrackerRefused:
    account = os.environ.get("MLFLOW_TRACKING_USERNAME")
    return TrackerRefused(
        f"MLflow at {url} refuses the account {account or '(none is signed in)'}: {error}",
        hint="accounts and roles: perennial local accounts; MLFLOW_TRACKING_USERNAME and _PASSWORD sign in",
    )


def _unavailable(url: str, error: Exception) -> TrackerUnavailable:
    return TrackerUnavailable(
        f"MLflow at {url} does not answer: {error}",
        hint="start it with `perennial local up`, or unset PERENNIAL_TRACKING_URL to use a local file",
    )
