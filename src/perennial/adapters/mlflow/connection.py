"""Connection of the MLflow adapters to their server: short timeouts, and a common error when it does not answer."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

# MLflow reads these when it is imported. A training must not hang for minutes on a server that is down.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from perennial.errors import TrackerRefused, TrackerUnavailable
from perennial.hidden_packages import hidden

# At its first request MLflow loads the plugins that add headers. That of Feast imports all of Feast, seconds of every
# process that asks MLflow, and would send the token of a Kubernetes service account to the tracking server.
with hidden("feast"), warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Failure attempting to register request header provider")
    import_module("mlflow.tracking.request_header.registry")

PROBE_SECONDS = 5.0
REFUSED = (401, 403)
UNKNOWN = "error code 401"
"""Part of the error text when MLflow's authentication answers in HTML, which MLflow's client cannot parse."""


def connect(url: str) -> MlflowClient:
    """Return a client of a server (`http...`) or of a database; a SQLite file is created with its folder."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    probe(url)
    with reaching(url), warnings.catch_warnings():
        if not url.startswith("http"):
            # A server's client does without SQLAlchemy, whose import is a tenth of a command.
            from sqlalchemy.exc import SADeprecationWarning

            # They concern MLflow's own tables; a user cannot act on them.
            warnings.simplefilter("ignore", SADeprecationWarning)
        return MlflowClient(tracking_uri=url, registry_uri=url)


def probe(url: str) -> None:
    """Check that a server answers.

    Raises:
        TrackerUnavailable: it does not answer.
    """
    if not url.startswith("http"):
        return
    try:
        trusted = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
        shown = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH")
        answer = requests.get(
            f"{url.rstrip('/')}/health", timeout=PROBE_SECONDS, verify=trusted or True, cert=shown
        )
        answer.raise_for_status()
    except (requests.RequestException, OSError) as error:
        raise _unavailable(url, error) from error


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn failures of the connection into TrackerUnavailable, and refused accounts into TrackerRefused."""
    try:
        yield
    except (
        requests.ConnectionError,
        requests.Timeout,
        *_loaded(("sqlalchemy.exc", "SQLAlchemyError")),
    ) as error:
        raise _unavailable(url, error) from error
    except MlflowException as error:
        if error.error_code in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}:
            raise _unavailable(url, error) from error
        if error.get_http_status_code() in REFUSED or UNKNOWN in str(error):
            raise _refused(url, error) from error
        raise
    except s3_errors() as error:
        raise TrackerUnavailable(
            f"the artifact store of MLflow failed: {error}",
            hint="AWS_ENDPOINT_URL, AWS_CA_BUNDLE, AWS_SHARED_CREDENTIALS_FILE and the bucket of "
            "PERENNIAL_ARTIFACTS_URL",
        ) from error


def s3_errors() -> tuple[type[Exception], ...]:
    """Return the classes of failures of the client for S3; none before MLflow has loaded it."""
    names = (("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"))
    return _loaded(*names, ("boto3.exceptions", "Boto3Error"))


def _loaded(*names: tuple[str, str]) -> tuple[type[Exception], ...]:
    """Return the classes of exceptions whose modules are loaded: what is not loaded has raised nothing."""
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def all_pages(search: Callable[[str | None], Any]) -> list[Any]:
    """Return the items of all pages of a search.

    Args:
        search: page token (None: the first page) -> a page of MLflow's client.
    """
    page = search(None)
    items = list(page)
    while page.token:
        page = search(page.token)
        items += page
    return items


def _refused(url: str, error: Exception) -> TrackerRefused:
    account = os.environ.get("MLFLOW_TRACKING_USERNAME")
    return TrackerRefused(
        f"MLflow at {_shown(url)} refuses the account {account or '(none is signed in)'}: {error}",
        hint="accounts and roles: perennial local accounts; MLFLOW_TRACKING_USERNAME and _PASSWORD sign in",
    )


def _unavailable(url: str, error: Exception) -> TrackerUnavailable:
    return TrackerUnavailable(
        f"MLflow at {_shown(url)} does not answer: {error}",
        hint="start it with `perennial local up`, or unset PERENNIAL_TRACKING_URL to use a local file",
    )


def _shown(url: str) -> str:
    """Return an address without the password of a database."""
    if url.startswith("http"):
        return url
    from perennial.adapters.database_address import shown  # needs SQLAlchemy

    return shown(url)
