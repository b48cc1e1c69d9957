"""Which secret each started process gets: none that is not named here, and never a value, only a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial import account_file
from perennial.errors import SettingsError
from perennial.local import handed_secrets
from perennial.local.airflow import make_configuration
from perennial.local.processes import table
from perennial.local.supervisor import set_up
from perennial.local.supervisord import write_config
from perennial.secret_settings import SECRETS
from perennial.settings import Settings, load

PUBLIC = {
    "project", "home", "data_mirror", "spec_overlay", "tracking_url", "airflow_user", "ledger_key", "signing_key",
    "trusted_keys", "actor", "people", "host", "host_pages", "require_keys", "tls_cert", "tls_key", "tls_ca",
    "accounts_path", "unix_accounts", "training_socket",
    "internal_tls", "internal_role", "internal_tls_days",
    "tls_pages", "jwt_issuer", "jwt_audience", "jwt_keys", "client_rate", "port_mlflow", "port_airflow", "port_envoy",
    "port_monitor", "port_alerts", "ports_stable", "ports_canary", "ports_stable_grpc", "ports_canary_grpc",
    "request_log", "otlp_traces", "artifacts_url", "airflow_executor", "airflow_server",
    "workers_training", "workers_light", "trainings_at_once", "work_store", "on_demand_mib", "provider", "device",
    "log_bucket", "log_local_days",
    "keep_served_days", "keep_logs_days", "keep_work_days", "keep_reports_days", "prune_daily",
    "oidc_issuer", "oidc_client_id", "oidc_roles", "oidc_roles_claim", "oidc_name_claim", "oidc_scopes", "oidc_hours",
    "oidc_mlflow_url", "oidc_airflow_url",
    "tenant", "plane", "exchange", "machine", "machine_lease", "log_ship_seconds",
    "s3_encryption", "false_alarms_per_month", "false_drift_warnings_per_month",
    # Handed to no process, though none is a secret: they lead to all that a vault has.
    "vault_address", "vault_token_file", "vault_role", "vault_auth", "vault_jwt_file", "vault_namespace", "vault_ca",
}  # fmt: skip
"""Settings without a secret: addresses, names, and paths of files whose modes protect them."""
GETS = {
    "mlflow": {"database_url", "mlflow_database_url", "oidc_client_secret", "sentry_dsn"},
    "envoy": set(),
    "server-stable-3101": {"online_store", "sentry_dsn"},
    "server-stable-3102": {"online_store", "sentry_dsn"},
    "server-canary-3111": {"online_store", "sentry_dsn"},
    "guard": {"database_url", "encryption_keys", "sentry_dsn"},
    "airflow-api-server": {"database_url", "oidc_client_secret"},
    "airflow-scheduler": set(),  # its tasks run in the workers
    "airflow-worker-training": {"database_url", "tuning_url", "dvc_remote", "online_store", "sentry_dsn"},
    "airflow-worker-light": {"database_url", "dvc_remote", "online_store", "encryption_keys", "sentry_dsn"},
    "airflow-dag-processor": set(),
    "airflow-triggerer": {"database_url", "encryption_keys"},
    "monitor": {"database_url", "airflow_password", "encryption_keys", "sentry_dsn"},
    "notifier": {"database_url", "notify", "sentry_dsn"},
    "alerts": {"database_url", "alerts_secret", "sentry_dsn"},
}
RUNS_TASKS = {"database_url", "tuning_url", "dvc_remote", "online_store", "encryption_keys", "sentry_dsn"}
"""What the scheduler gets where it runs the tasks itself."""
MACHINES = {"training", "release"}
EVERYBODY = {"admin", "training", "release", "approver", "operator", "viewer"}
HAS: dict[str, set[str]] = {name: set() for name in GETS} | {
    "mlflow": EVERYBODY, "guard": MACHINES, "monitor": MACHINES, "airflow-worker-light": MACHINES,
    "airflow-worker-training": {"training"}, "airflow-triggerer": MACHINES,
}  # fmt: skip
"""Process -> accounts whose passwords are in its accounts file."""
VALUES = {name: f"secret-of-{name}" for name in sorted(SECRETS - {"passwords"})}


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    """Settings whose secrets are all set, by variables, beside secrets of other tools."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PERENNIAL_PORT_ALERTS", "9301")
    set_up(load(), lambda line: None)
    for name, value in VALUES.items():
        monkeypatch.setenv(f"PERENNIAL_{name.upper()}", value)
    monkeypatch.setenv("PERENNIAL_PASSWORDS", '{"viewer": "secret-of-passwords"}')
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-another-tool")
    monkeypatch.setenv("GH_TOKEN", "secret-of-another-tool")
    monkeypatch.setenv("SOME_DB", "postgresql://me:secret-of-another-tool@host/db")
    return load()


def test_every_setting_is_public_or_secret():
    """A new setting fails here until it is named."""
    assert set(Settings.model_fields) == PUBLIC | SECRETS
    assert not PUBLIC & SECRETS


def test_each_process_gets_the_secrets_that_it_needs(settings):
    handed_secrets.write(settings)
    base = handed_secrets.base_environment(settings)
    assert not [name for name, value in base.items() if "secret-of" in value]
    assert not [name for name in base if name.endswith("_FILE") and name.startswith("PERENNIAL_")]
    processes = table(settings)
    assert {process.name for process in processes} == set(GETS)
    for process in processes:
        assert "secret-of" not in repr(process.environment), process.name
        named = {
            name for name in process.environment if name.startswith("PERENNIAL_") and name.endswith("_FILE")
        }
        path = process.environment.get("PERENNIAL_ACCOUNTS_PATH")
        assert (set(account_file.read(Path(path))) if path else set()) == HAS[process.name], process.name
        assert named == {f"PERENNIAL_{name.upper()}_FILE" for name in GETS[process.name]}, process.name
    assert "secret-of" not in write_config(settings, processes).read_text()


def test_the_files_are_private_and_give_the_same_settings(settings, monkeypatch):
    handed_secrets.write(settings)
    settings = settings.model_copy(update={"celery_broker_url": None})
    assert not [process for process in table(settings) if "worker" in process.name]
    handed_secrets.write(settings)
    scheduler = next(process for process in table(settings) if process.name == "airflow-scheduler")
    for name in SECRETS:
        monkeypatch.delenv(f"PERENNIAL_{name.upper()}", raising=False)
    for name, value in scheduler.environment.items():
        monkeypatch.setenv(name, value)
    read = load()
    for name in SECRETS:
        assert getattr(read, name) == (VALUES[name] if name in RUNS_TASKS else None), name
    for path in (settings.state / "secrets").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.is_dir()
    handed_secrets.write(settings.model_copy(update={"notify": None}))
    assert not (settings.state / "secrets" / "processes" / "notifier" / "notify").exists()


def test_servers_with_pages_only_record_where_there_is_a_role_for_it(settings):
    for recorder, expected in (("url-of-recorder", "url-of-recorder"), (None, VALUES["database_url"])):
        handed_secrets.write(settings.model_copy(update={"recorder_database_url": recorder}))
        folder = settings.state / "secrets" / "processes"
        for process in ("mlflow", "airflow-api-server"):
            assert (folder / process / "database_url").read_text() == expected
        assert (folder / "guard" / "database_url").read_text() == VALUES["database_url"]
        assert (folder / "server" / "online_store").read_text() == VALUES["online_store_reader"]
        assert (folder / "airflow-worker-light" / "online_store").read_text() == VALUES["online_store"]


def test_only_parts_of_airflow_that_sign_know_the_key_of_sessions(settings):
    keys = {}
    for process in table(settings):
        variables = [name for name in process.environment if name.startswith("AIRFLOW")]
        assert bool(variables) == process.name.startswith("airflow-"), process.name
        if variables:
            assert not {n for n in variables if handed_secrets.holds_secret(n, process.environment[n])}
            keys[process.name] = process.environment["AIRFLOW_CONFIG"].rpartition("/")[2]
    signing = "sessions.cfg"
    assert keys == {
        "airflow-api-server": signing, "airflow-scheduler": signing,
        "airflow-dag-processor": "airflow.cfg", "airflow-triggerer": "airflow.cfg",
        "airflow-worker-training": "workers.cfg", "airflow-worker-light": "workers.cfg",
    }  # fmt: skip
    make_configuration(settings)
    texts = {
        name: (settings.airflow_dir / name).read_text() for name in (signing, "airflow.cfg", "workers.cfg")
    }
    assert [name for name, text in texts.items() if VALUES["celery_broker_url"] in text] == [
        signing,
        "workers.cfg",
    ]
    for name in (signing, "workers.cfg"):
        assert f"result_backend = db+{VALUES['airflow_database_url']}\n" in texts[name]
    for name in texts:
        assert (settings.airflow_dir / name).stat().st_mode & 0o777 == 0o600


def test_what_is_kept_back_is_told_and_files_are_not(tmp_path):
    path = tmp_path / "credentials"
    path.write_text("x")
    given = {"GOOGLE_APPLICATION_CREDENTIALS": str(path), "SSH_AUTH_SOCK": "/run/s", "HF_TOKEN": "x",
             "https_proxy": "http://me:word@proxy:80", "KEYMAP": "de", "PATH": "/bin"}  # fmt: skip
    assert handed_secrets.kept_back(given) == ["HF_TOKEN"]


def test_an_address_with_a_password_for_everybody_is_refused(tmp_path):
    settings = Settings(home=tmp_path, tracking_url="http://me:word@host:5000")
    with pytest.raises(SettingsError, match="PERENNIAL_TRACKING_URL"):
        handed_secrets.base_environment(settings)


def test_a_missing_file_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PERENNIAL_NOTIFY_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="PERENNIAL_NOTIFY_FILE"):
        load()


def test_an_address_of_traces_with_a_password_is_refused(tmp_path, monkeypatch):
    """Every process sees the address, and its error messages do."""
    monkeypatch.setenv("PERENNIAL_OTLP_TRACES", "http://me:hidden@collector:4318/v1/traces")
    with pytest.raises(SettingsError) as refused:
        load()
    assert "hidden" not in str(refused.value)


def test_each_half_of_a_plant_has_its_processes_and_their_secrets_only(settings):
    halves = {
        plane: settings.model_copy(update={"plane": plane, "machine": "serving_a"})
        for plane in ("control", "serving")
    }
    names = {plane: {process.name for process in table(half)} for plane, half in halves.items()}
    assert not names["control"] & names["serving"]
    assert names["control"] | names["serving"] == {*GETS, "agent", "machines"}
    assert {"envoy", "agent"} < names["serving"]
    handed_secrets.write(halves["serving"])
    folders = {path.name for path in (settings.state / "secrets" / "processes").iterdir()}
    assert folders == {"agent", "server"}
