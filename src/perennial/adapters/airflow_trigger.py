"""Scheduler port over the Airflow REST API (v2): raise asset events, start runs, read their state."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from perennial.errors import SchedulerUnavailable

TIMEOUT = httpx.Timeout(20.0, connect=3.0)
"""Seconds; the first response after a start of Airflow is slow."""
REFUSED = (401, 403)


class AirflowTrigger:
    """Scheduler port; fetches a token at the first call and again when Airflow refuses it.

    Args:
        verify: what the server's certificate is verified with.
    """

    def __init__(self, url: str, user: str, password: str, verify: ssl.SSLContext | bool = True) -> None:
        self._url = url
        self._account = {"username": user, "password": password}
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT, verify=verify)

    def raise_event(self, asset: str, extra: Mapping[str, Any]) -> None:
        """Raise an event of the asset with this name.

        Raises:
            SchedulerUnavailable: Airflow is down, refuses the user, or has no such asset.
        """
        body = {"asset_id": self._asset(asset), "extra": dict(extra)}
        self._call("POST", "/api/v2/assets/events", f"asset {asset}", json=body)

    def trigger(self, dag: str, conf: Mapping[str, Any]) -> str:
        """Start a run now with `conf` as its parameters, and return its id."""
        body = {"logical_date": None, "conf": dict(conf)}
        return self._call("POST", f"/api/v2/dags/{dag}/dagRuns", f"DAG {dag}", json=body)["dag_run_id"]

    def state(self, dag: str, run: str) -> str:
        """Return the state of the run as named by Airflow: queued, running, success or failed."""
        return self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run}", f"run {run} of {dag}")["state"]

    def get(self, path: str, **query: str | int) -> Any:
        """Return the JSON of any resource of the API."""
        return self._call("GET", path, path, params=query)

    def _asset(self, name: str) -> int:
        # The pattern is SQL's LIKE, where "_" matches any character, so the names are compared again here.
        reply = self._call("GET", "/api/v2/assets", "assets", params={"name_pattern": name, "limit": 100})
        for asset in reply["assets"]:
            if asset["name"] == name:
                return int(asset["id"])
        raise SchedulerUnavailable(
            f"Airflow at {self._url} has no asset {name!r}",
            hint="is the DAG scheduled on it parsed and not paused? airflow dags list-import-errors",
        )

    def _call(self, method: str, path: str, what: str, **request: Any) -> Any:
        try:
            answer = self._client.request(method, path, **request)
            # 401 without a token, 403 with an expired token (or for a forbidden user): log in and try again.
            if answer.status_code in REFUSED:
                self._log_in()
                answer = self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise SchedulerUnavailable(
                f"Airflow at {self._url} does not answer: {error!r}", hint="perennial local status"
            ) from error
        if answer.status_code == 404:
            raise SchedulerUnavailable(
                f"Airflow at {self._url} has no {what}",
                hint="is its DAG parsed? airflow dags list-import-errors",
            )
        return _content(answer, f"{method} {path}")

    def _log_in(self) -> None:
        answer = self._client.post("/auth/token", json=self._account)
        token = _content(answer, f"the login of {self._account['username']!r}")["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"


def _content(answer: httpx.Response, what: str) -> Any:
    """Return the JSON of a successful response; raise SchedulerUnavailable with its text otherwise."""
    if answer.is_success:
        try:
            return answer.json()
        except ValueError as error:
            raise SchedulerUnavailable(
                f"Airflow's answer to {what} is not JSON: {answer.text[:200]!r}",
                hint="does another program listen on Airflow's port?",
            ) from error
    refused = answer.status_code in REFUSED
    hint = "check the user and password of the settings" if refused else answer.text[:300]
    raise SchedulerUnavailable(f"Airflow answers {answer.status_code} to {what}", hint=hint)
