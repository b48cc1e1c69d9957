"""What a new tenant needs on the servers, and the settings of its plant: a pure function from names to files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from perennial.core.governance.identity import read_people
from perennial.core.tenants import databases
from perennial.core.tenants.cluster import overlay
from perennial.core.tenants.tenant import PARTS, USERS, Tenant
from perennial.errors import UsageError

SECRETS = (*PARTS, *USERS, "redis", "s3_key", "s3_secret", "reader_key", "reader_secret")
"""Random texts of letters and digits that a plan needs."""
OWNER = "owner_database_url"
"""File with the address of the owner of our tables, for `perennial store`; no process has it (ADR 61)."""
ADDRESS_FILES = {
    "plant": "database_url", "recorder": "recorder_database_url", "mlflow": "mlflow_database_url",
    "airflow": "airflow_database_url", "optuna": "tuning_url",
}  # fmt: skip
"""Role -> secret setting with its address."""
ON_MACHINE = (*ADDRESS_FILES.values(), "celery_broker_url", "online_store", "dvc_remote")


@dataclass(frozen=True)
class Servers:
    """Addresses of the shared servers, without accounts.

    Attributes:
        postgres: `postgresql://HOST:PORT`, with `?sslmode=...` if wanted.
        redis: `redis://HOST:PORT` or `rediss://...` of a Redis that is this tenant's alone.
        s3: address of the S3 server; None: Amazon's own.
    """

    postgres: str
    redis: str
    s3: str | None
    region: str = "us-east-1"

    def __post_init__(self) -> None:
        for address, schemes in (
            (self.postgres, ("postgresql",)), (self.redis, ("redis", "rediss")),
            (self.s3 or "http://none", ("http", "https")),
        ):  # fmt: skip
            parts = urlsplit(address)
            if parts.scheme not in schemes or not parts.hostname or parts.username or parts.path.strip("/"):
                raise UsageError(
                    f"{address!r} is no address of a server",
                    hint=f"{schemes[0]}://HOST:PORT, without an account and a database",
                )


class PlanFile(NamedTuple):
    """A file of the plan."""

    text: str
    is_secret: bool
    use: str
    """What a person does with it; empty: others name it."""


def plan(
    tenant: Tenant,
    servers: Servers,
    people: str,
    secrets: Mapping[str, str],
    folder: str,
    base: str,
    first_port: int | None = None,
) -> dict[str, PlanFile]:
    """Return the files of a tenant by their path below its folder, in the order in which a person uses them.

    Args:
        people: `name:role,...`, the accounts of its plant.
        secrets: a text for each of `SECRETS`.
        folder: absolute path of the tenant's folder.
        base: path from there to `deploy/kustomize`.
        first_port: of ten ports in a row on the machine of the plant; None: the usual ones.

    Raises:
        UsageError: the people cannot be read.
    """
    try:
        named = read_people(people)
    except ValueError as error:
        raise UsageError(f"people: {error}", hint="an example: ann:approver,bob:viewer") from error
    if not named:
        raise UsageError("a tenant without people: nobody could approve", hint="--people ann:approver")
    server = urlsplit(servers.redis)
    redis = f"{server.scheme}://{tenant.name}:{secrets['redis']}@{server.netloc}"
    values = {
        **{name: _database(servers, tenant, role, secrets[role]) for role, name in ADDRESS_FILES.items()},
        "celery_broker_url": f"{redis}/0",
        "online_store": f"{redis}/1",
        "dvc_remote": f"s3://{tenant.bucket}/dvc",
        "s3_credentials": _credentials(secrets["s3_key"], secrets["s3_secret"]),
        "s3_reader": _credentials(secrets["reader_key"], secrets["reader_secret"]),
        "s3_config": _s3_config(servers),
    }  # fmt: skip
    public = {
        "PERENNIAL_TENANT": tenant.name,
        "PERENNIAL_PEOPLE": people,
        "PERENNIAL_REQUIRE_KEYS": "true",
        "PERENNIAL_ARTIFACTS_URL": f"s3://{tenant.bucket}/mlflow",
        "PERENNIAL_LOG_BUCKET": f"s3://{tenant.bucket}/log",
    }
    passwords = {name: secrets[name] for name in (*PARTS, *USERS)}
    return {
        "postgres.sql": PlanFile(databases.script(tenant, passwords), True, "psql -f, as a superuser"),
        OWNER: PlanFile(_database(servers, tenant, "perennial", secrets["perennial"]), True, admit(tenant)),
        "redis.conf": PlanFile(_redis(tenant, secrets["redis"], servers.redis), True, "redis-server"),
        "s3-identities.json": PlanFile(
            _identities(tenant, secrets), True, f"keys of the S3 server; make the bucket {tenant.bucket}"
        ),
        "settings.env": PlanFile(
            _environment(public, folder, first_port), False, "set -a; . settings.env; perennial local up"
        ),
        **{
            path: PlanFile(text, False, "kubectl apply -k, in a cluster instead" * (path == "kustomization.yaml"))
            for path, text in overlay(tenant, public, sorted(values), base).items()
        },
        **{f"secrets/{name}": PlanFile(text, True, "") for name, text in values.items()},
    }  # fmt: skip


def admit(tenant: Tenant) -> str:
    """Return the commands for the owner of our tables, which it makes; they may be given again."""
    users = "; ".join(f"perennial store admit {tenant.role(user)} --as {user}" for user in USERS)
    return f"with settings.env, then PERENNIAL_DATABASE_URL_FILE={OWNER}: perennial store upgrade; {users}"


def _database(servers: Servers, tenant: Tenant, name: str, password: str) -> str:
    """Return the address with which a part or user reaches its database."""
    parts = urlsplit(servers.postgres)
    query = f"?{parts.query}" if parts.query else ""
    database = tenant.role(name if name in PARTS else "perennial")
    return f"postgresql+psycopg://{tenant.role(name)}:{password}@{parts.netloc}/{database}{query}"


def _redis(tenant: Tenant, password: str, address: str) -> str:
    """Return the configuration of a Redis that knows one account, which may not change the server itself."""
    server = urlsplit(address)
    port = server.port or 6379
    return (
        (f"port 0\ntls-port {port}\n" if server.scheme == "rediss" else f"port {port}\n")
        + f"bind {server.hostname}\n"
        + "appendonly yes\n"  # a lost message is a task that is not run
        + "user default off\n"
        + f"user {tenant.name} on >{password} ~* &* +@all -@admin\n"
    )


def _identities(tenant: Tenant, secrets: Mapping[str, str]) -> str:
    """Return two keys for SeaweedFS: one for trainings and releases, one that shows artifacts on MLflow's page."""

    def identity(name: str, key: str, *actions: str) -> dict[str, object]:
        credential = {"accessKey": secrets[f"{key}_key"], "secretKey": secrets[f"{key}_secret"]}
        return {
            "name": name,
            "credentials": [credential],
            "actions": [f"{action}:{tenant.bucket}" for action in actions],
        }

    keys = [
        identity(tenant.name, "s3", "Read", "Write", "List", "Tagging"),
        identity(f"{tenant.name}-reader", "reader", "Read", "List"),
    ]
    return json.dumps({"identities": keys}, indent=2) + "\n"


def _credentials(key: str, secret: str) -> str:
    return f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"


def _s3_config(servers: Servers) -> str:
    endpoint = f"endpoint_url = {servers.s3}\n" if servers.s3 else ""
    return f"[default]\nregion = {servers.region}\n{endpoint}"


def _environment(public: Mapping[str, str], folder: str, first_port: int | None) -> str:
    """Return the settings of a plant on one machine; secrets are named by their files."""
    first = first_port
    ports = {} if first is None else {
        "PERENNIAL_PORT_ENVOY": f"{first}", "PERENNIAL_PORT_MLFLOW": f"{first + 1}",
        "PERENNIAL_PORT_AIRFLOW": f"{first + 2}", "PERENNIAL_PORT_MONITOR": f"{first + 3}",
        "PERENNIAL_PORTS_STABLE": f"{first + 4},{first + 5}", "PERENNIAL_PORTS_CANARY": f"{first + 6}",
        "PERENNIAL_PORTS_STABLE_GRPC": f"{first + 7},{first + 8}", "PERENNIAL_PORTS_CANARY_GRPC": f"{first + 9}",
    }  # fmt: skip
    values = {
        **public,
        "PERENNIAL_HOME": f"{folder}/state",
        "PERENNIAL_TRACKING_URL": f"http://127.0.0.1:{5050 if first is None else first + 1}",
        **ports,
        **{f"PERENNIAL_{name.upper()}_FILE": f"{folder}/secrets/{name}" for name in ON_MACHINE},
        "AWS_SHARED_CREDENTIALS_FILE": f"{folder}/secrets/s3_credentials",
        "AWS_CONFIG_FILE": f"{folder}/secrets/s3_config",
    }
    return "".join(f"{name}={_quoted(value)}\n" for name, value in values.items())


def _quoted(value: str) -> str:
    """Return a value as a shell and systemd read it."""
    return "'" + value.replace("'", "'\\''") + "'"
