"""Where things are: read from the environment, nothing else. Policy lives in the model specs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from perennial.core.governance.identity import MACHINES, Account, read_people
from perennial.errors import SettingsError

HERE = Path(__file__).resolve().parents[2]
PREFIX = "PERENNIAL_"


class Settings(BaseModel):
    """One value per `PERENNIAL_*` variable; the defaults run everything on this machine, on loopback.

    Read by pydantic alone: pydantic-settings costs every command a third of a second before it begins, and
    an emergency rollback has one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    project: Path = Field(HERE, description="the checkout: configs, dags, feature_repo, bentos")
    home: Path = Field(Path(".perennial"), description="state folder; relative to the project")
    data_mirror: Path | None = Field(None, description="folder that may hold the catalogue's files")
    dvc_remote: str | None = Field(None, description="DVC remote address; a local folder by default")
    spec_overlay: Path | None = Field(None, description="folder of YAML laid over the model specs")
    database_url: str | None = Field(None, description="releases, ledger, labels; SQLite by default")
    tracking_url: str | None = Field(None, description="MLflow server; direct SQLite without one")
    tuning_url: str | None = Field(None, description="Optuna storage; a journal file by default")
    airflow_user: str = "perennial"
    airflow_password: str | None = Field(None, description="of airflow_user; else the generated file")
    notify: SecretStr | None = Field(None, description="apprise URLs of channels, blanks between; secrets")
    ledger_key: Path | None = Field(None, description="private key file that signs the ledger's head")
    actor: str | None = Field(None, description="who acts on the command line; the login name by default")
    token: str | None = Field(None, repr=False, description="signs its account in on the command line")
    people: str = Field(
        "approver:approver,operator:operator,viewer:viewer",
        description="accounts in MLflow and Airflow, name:role",
    )
    passwords: str | None = Field(None, repr=False, description="JSON {account: password}; else generated")

    host: str = Field("127.0.0.1", description="address that services listen on")
    port_mlflow: int = 5050
    port_airflow: int = 8080
    port_envoy: int = 8000
    port_envoy_admin: int = 9901
    port_monitor: int = 9300
    ports_stable: str = Field("3101,3102", description="one model server each")
    ports_canary: str = Field("3111", description="one model server each")

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: Any) -> Any:
        """A value that is given stands before that of its variable."""
        if not isinstance(given, dict):
            return given
        names = {name: PREFIX + name.upper() for name in cls.model_fields}
        found = {name: os.environ[variable] for name, variable in names.items() if variable in os.environ}
        return {**found, **given}

    @property
    def state(self) -> Path:
        """The absolute state folder."""
        return (self.project / self.home).resolve()

    def ports(self, pool: str) -> tuple[int, ...]:
        text = {"stable": self.ports_stable, "canary": self.ports_canary}[pool]
        try:
            return tuple(int(part) for part in text.split(","))
        except ValueError as error:
            raise SettingsError(
                f"PERENNIAL_PORTS_{pool.upper()} is {text!r}: not numbers with commas between",
                hint="for two servers: 3101,3102",
            ) from error

    @property
    def notify_addresses(self) -> tuple[str, ...]:
        """Secrets: only the adapter that sends may have them."""
        return tuple(self.notify.get_secret_value().split()) if self.notify is not None else ()

    @property
    def named_ports(self) -> dict[str, int]:
        """Every port that `make up` will listen on, by the name a person knows it by."""
        fixed = {
            "MLflow": self.port_mlflow,
            "Airflow": self.port_airflow,
            "Envoy": self.port_envoy,
            "Envoy admin": self.port_envoy_admin,
            "monitor": self.port_monitor,
        }
        for pool in ("stable", "canary"):
            for number, port in enumerate(self.ports(pool), start=1):
                fixed[f"model server {pool} {number}"] = port
        return fixed

    # Folders, each with one owner.
    @property
    def configs(self) -> Path:
        return self.project / "configs"

    @property
    def downloads(self) -> Path:
        return self.state / "downloads"

    @property
    def history_dir(self) -> Path:
        """CI histories as they were ingested: <history>/<part>.parquet."""
        return self.state / "history"

    @property
    def data_repo(self) -> Path:
        """A git + DVC repository of its own: a data revision is a commit there."""
        return self.state / "data"

    @property
    def quarantine(self) -> Path:
        return self.state / "quarantine"

    @property
    def feast_dir(self) -> Path:
        return self.state / "feast"

    @property
    def mlflow_dir(self) -> Path:
        return self.state / "mlflow"

    @property
    def airflow_dir(self) -> Path:
        return self.state / "airflow"

    @property
    def serving_dir(self) -> Path:
        """pools/<pool>.json (desired state), store/<digest>/ (model files), log/ (predictions)."""
        return self.state / "serving"

    @property
    def envoy_dir(self) -> Path:
        return self.state / "envoy"

    @property
    def reports(self) -> Path:
        return self.state / "reports"

    @property
    def accounts_file(self) -> Path:
        """Account name -> role and password; only its owner may read it."""
        return self.state / "accounts.json"

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Everybody that MLflow lets in.

        Raises:
            SettingsError: PERENNIAL_PEOPLE cannot be read.
        """
        try:
            return (*MACHINES, *read_people(self.people))
        except ValueError as error:
            raise SettingsError(f"PERENNIAL_PEOPLE: {error}", hint="ann:approver,bob:viewer") from error

    @property
    def given_passwords(self) -> dict[str, str]:
        """Account name -> password, of those that the environment gives.

        Raises:
            SettingsError: PERENNIAL_PASSWORDS is not such an object.
        """
        try:
            return TypeAdapter(dict[str, str]).validate_json(self.passwords or "{}")
        except ValidationError as error:
            raise SettingsError(
                "PERENNIAL_PASSWORDS is no JSON object of texts", hint='{"ann": "at least 12 characters"}'
            ) from error

    # Addresses.
    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.state / 'perennial.db'}"

    @property
    def tracking(self) -> str:
        return self.tracking_url or f"sqlite:///{self.mlflow_dir / 'mlflow.db'}"

    @property
    def mlflow_url(self) -> str:
        """Of the server's pages, for people."""
        server = self.tracking_url
        if server and server.startswith(("http://", "https://")):
            return server.rstrip("/")
        return f"http://{self.host}:{self.port_mlflow}"

    @property
    def airflow_url(self) -> str:
        return f"http://{self.host}:{self.port_airflow}"

    @property
    def envoy_url(self) -> str:
        return f"http://{self.host}:{self.port_envoy}"

    @property
    def envoy_admin_url(self) -> str:
        return f"http://{self.host}:{self.port_envoy_admin}"


def load() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a `PERENNIAL_*` variable has a value that does not fit.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']}", hint="correct or unset the variable") from error
