"""Each part has a database of its own."""

from __future__ import annotations

import pytest

from perennial.errors import SettingsError
from perennial.local import databases
from perennial.settings import Settings, load

STORE = "postgresql+psycopg://perennial:word-1@db.example/one"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("mlflow_database_url", STORE),
        ("mlflow_database_url", "postgresql://mlflow:word-2@DB.example:5432/one?sslmode=require"),
        ("tuning_url", "postgresql+psycopg2://optuna@db.example/one"),
        ("airflow_database_url", "postgresql+psycopg://airflow@db.example:5432/one"),
    ],
)
def test_two_settings_of_the_same_database_are_refused(name, address):
    with pytest.raises(SettingsError) as refused:
        databases.check(Settings(database_url=STORE, **{name: address}))
    assert "PERENNIAL_DATABASE_URL" in refused.value.message
    assert f"PERENNIAL_{name.upper()}" in refused.value.message
    assert "word" not in str(refused.value)


@pytest.mark.parametrize(
    ("recorder", "problem"),
    [
        ("postgresql+psycopg://recorder:word-2@db.example/two", "name different databases"),
        (STORE, "has the role of"),
        ("postgresql+psycopg://perennial:word-3@DB.example:5432/one", "has the role of"),
    ],
)
def test_a_recorder_is_another_role_of_the_same_database(recorder, problem):
    with pytest.raises(SettingsError, match=problem) as refused:
        databases.check(Settings(database_url=STORE, recorder_database_url=recorder))
    assert "word" not in str(refused.value)
    databases.check(
        Settings(database_url=STORE, recorder_database_url="postgresql+psycopg://recorder@db.example/one")
    )
    with pytest.raises(SettingsError, match="name different databases"):
        databases.check(Settings(recorder_database_url=STORE))
    with pytest.raises(SettingsError, match="nobody would publish"):
        databases.check(Settings(online_store_reader="redis://reader:word-4@db.example/0"))


def test_workers_need_a_database_server():
    broker = "redis://:hidden@127.0.0.1:6379/0"
    with pytest.raises(SettingsError, match="CeleryExecutor needs a database") as refused:
        databases.check(Settings(celery_broker_url=broker))
    assert "hidden" not in str(refused.value)
    server = "postgresql+psycopg://a@b/c"
    databases.check(Settings(celery_broker_url=broker, airflow_database_url=server))
    with pytest.raises(SettingsError, match="needs a broker"):
        databases.check(Settings(airflow_executor="CeleryExecutor", airflow_database_url=server))


def test_others_are_not():
    databases.check(Settings())
    databases.check(
        Settings(
            database_url=STORE,
            mlflow_database_url="postgresql+psycopg://mlflow@db.example/two",
            tuning_url="postgresql+psycopg://optuna@db.example:5433/one",
        )
    )
    databases.check(Settings(database_url=STORE, tuning_url="/studies/journal"))


@pytest.mark.parametrize("place", ["s3://b", "file:///tmp", "s3://bucket/../x?y", "/folder", "s3://Bucket/x"])
def test_a_place_of_artifacts_is_an_address_in_s3(place):
    with pytest.raises(ValueError, match="artifacts_url"):
        Settings(artifacts_url=place)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("redis://:w@h:6379/0", "redis://:w@h:6379/0"),
        ("rediss://:w@h:6379/0", "rediss://:w@h:6379/0?ssl_cert_reqs=required"),
        ("REDISS://h/0?ssl_ca_certs=/a.crt", "REDISS://h/0?ssl_ca_certs=/a.crt&ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_cert_reqs=required", "rediss://h/0?ssl_cert_reqs=required"),
        (
            "rediss://a/0;rediss://b/0?ssl_cert_reqs=required",
            "rediss://a/0?ssl_cert_reqs=required;rediss://b/0?ssl_cert_reqs=required",
        ),
    ],
)
def test_the_certificate_of_a_broker_is_checked(given, used):
    """By default Celery would check none."""
    settings = Settings(celery_broker_url=given)
    assert settings.celery_broker_url == used
    assert Settings(celery_broker_url=used).celery_broker_url == used


@pytest.mark.parametrize("word", ["none", "optional", "CERT_NONE", "required&ssl_cert_reqs=none"])
def test_a_broker_whose_certificate_nobody_checks_is_refused(monkeypatch, word):
    monkeypatch.setenv("PERENNIAL_CELERY_BROKER_URL", f"rediss://:hidden@h:6379/0?ssl_cert_reqs={word}")
    with pytest.raises(
        SettingsError, match=r"PERENNIAL_CELERY_BROKER_URL: .*can only be `required`"
    ) as refused:
        load()
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "rest", ["?ssl_cert_reqs=required&ssl_check_hostname=False", "?ssl_check_hostname=false", "#x"]
)
def test_a_broker_with_another_servers_certificate_is_refused(monkeypatch, rest):
    """Behind a # Celery would read nothing of ours."""
    monkeypatch.setenv("PERENNIAL_CELERY_BROKER_URL", f"rediss://:hidden@h:6379/0{rest}")
    with pytest.raises(SettingsError, match=r"PERENNIAL_CELERY_BROKER_URL: ") as refused:
        load()
    assert "hidden" not in str(refused.value)
