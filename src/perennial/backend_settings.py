"""The servers that MLflow and Airflow use, a part of the settings."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, Field, field_validator

BUCKET, FOLDER = r"s3://[a-z0-9][a-z0-9.-]+", r"(/[A-Za-z0-9._=-]+)"
"""Patterns of a bucket of object storage, and of a folder in it."""
LOCAL, CELERY = "LocalExecutor", "CeleryExecutor"
"""Executors of Airflow: the scheduler runs the tasks itself, or workers take them from queues."""
TRAINING, LIGHT = "training", "light"
"""Queues of Airflow's tasks: those that use the work folder of a training, and the rest."""

CHECKED, OF_HOST = "ssl_cert_reqs", "ssl_check_hostname"
"""Celery's words in a broker's address: is its certificate checked (without any such word it is not), and its name?"""
TRAININGS = "trainings"
"""Airflow's pool of the steps of trainings."""
LOCAL_TRAININGS = 3
UNBOUNDED = -1
"""Airflow's word for a pool without a bound."""


class BackendSettings(BaseModel):
    """A field per variable; `Settings` reads them from the environment."""

    recorder_database_url: str | None = Field(
        None,
        repr=False,
        description="address of the same database for MLflow's server and Airflow's API server, which only append "
        "to the ledger; PERENNIAL_DATABASE_URL by default",
    )
    online_store_reader: str | None = Field(
        None,
        repr=False,
        description="address of the same Redis by a user that only reads, for the model servers; "
        "PERENNIAL_ONLINE_STORE by default",
    )
    mlflow_database_url: str | None = Field(
        None, repr=False, description="MLflow's database; SQLite by default"
    )
    artifacts_url: str | None = Field(
        None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[A-Za-z0-9._-]+)*$",
        description="place of MLflow's artifacts, as s3://bucket/prefix; a local folder by default",
    )
    airflow_database_url: str | None = Field(
        None, repr=False, description="Airflow's database; SQLite by default"
    )
    celery_broker_url: str | None = Field(
        None,
        repr=False,
        description="Redis of the queues of Airflow's tasks; the scheduler runs them by default",
    )
    airflow_server: str | None = Field(
        None,
        pattern=r"^https?://[^/@]+$",
        description="Airflow's API server, where that, its scheduler and its processor of DAGs are elsewhere",
    )
    airflow_executor: str | None = Field(
        None,
        description="Airflow's executor; LocalExecutor by default, CeleryExecutor where there is a broker",
    )
    workers_training: int = Field(
        1, ge=0, description="tasks of trainings that run here at once; 0: no worker"
    )
    workers_light: int = Field(4, ge=0, description="other tasks that run here at once; 0: no worker")
    trainings_at_once: int | None = Field(
        None,
        ge=1,
        description="steps of trainings at once in the whole plant; 3 with LocalExecutor, else as workers allow",
    )
    work_store: str | None = Field(
        None,
        pattern=f"^{BUCKET}{FOLDER}+$",
        description="where the work folders of trainings are kept between their steps, as s3://bucket/folder, for "
        "workers on several machines; a folder of this machine by default",
    )
    log_bucket: str | None = Field(
        None,
        pattern=f"^{BUCKET}{FOLDER}*$",
        description="object storage for sealed segments, as s3://bucket/folder; keys are not part of it",
    )
    plane: Literal["all", "control", "serving"] = Field(
        "all", description="half of the plant that runs here: releases and trainings, or Envoy and servers"
    )
    exchange: str | None = Field(
        None,
        pattern=f"^({BUCKET}{FOLDER}*|file:///.+)$",
        description="where the two halves exchange files, as s3://bucket/folder",
    )
    machine: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_]{0,62}(\.[a-z0-9-]{1,63})?$",
        description="name of this serving machine: its database role, or ROLE.NAME",
    )
    machine_lease: float = Field(
        10.0, gt=1, description="seconds after which a silent serving machine is not waited for"
    )
    log_ship_seconds: float = Field(
        10.0, gt=0, description="seconds between two uploads of what this serving machine has logged"
    )

    @field_validator("celery_broker_url")
    @classmethod
    def _with_checked_certificate(cls, address: str | None) -> str | None:
        """Have Celery check the certificate of each broker with TLS: it does so only where the address asks for it."""
        return address if address is None else ";".join(map(_checked, address.split(";")))

    @property
    def data_queue(self) -> str:
        """Return the queue of the steps that read the plant's data: those after them need the work folder only."""
        return TRAINING if self.work_store is None else LIGHT

    @property
    def executor(self) -> str:
        """Return Airflow's executor."""
        return self.airflow_executor or (LOCAL if self.celery_broker_url is None else CELERY)

    @property
    def training_slots(self) -> int:
        """Return the slots of Airflow's pool of training steps."""
        return self.trainings_at_once or (LOCAL_TRAININGS if self.executor == LOCAL else UNBOUNDED)

    @property
    def workers(self) -> dict[str, int]:
        """Return the number of tasks at once by queue, for the workers that this machine starts."""
        if self.executor != CELERY:
            return {}
        counts = {TRAINING: self.workers_training, LIGHT: self.workers_light}
        return {queue: count for queue, count in counts.items() if count > 0}


def _checked(broker: str) -> str:
    """Return the address of a broker, with TLS only by a certificate that is checked; raises ValueError."""
    parts = urlsplit(broker)
    if parts.scheme != "rediss":
        return broker
    if parts.fragment:
        raise ValueError("it has a #, after which Celery reads nothing: write %23 in a password")
    asked = parse_qs(parts.query)
    if asked.get(CHECKED, ["required"]) != ["required"]:
        raise ValueError(f"{CHECKED} can only be `required`: who took the broker's place could queue tasks")
    if any(value.lower() == "false" for value in asked.get(OF_HOST, [])):
        raise ValueError(f"{OF_HOST} cannot be `false`: another server's certificate would do")
    return broker if CHECKED in asked else f"{broker}{'&' if parts.query else '?'}{CHECKED}=required"
