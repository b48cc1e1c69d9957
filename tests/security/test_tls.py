"""TLS at the pages of MLflow and Airflow, with the certificate that `make dev-certificates` makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from mlflow_server import MODEL, MlflowServer

from perennial.errors import SettingsError, TrackerUnavailable
from perennial.installation import HERE
from perennial.local.handed_secrets import base_environment
from perennial.local.processes import table
from perennial.settings import Settings
from perennial.wiring import versions
from perennial.wiring.accounts import CERTIFICATES


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> dict:
    """The settings after `make dev-certificates`."""
    folder = tmp_path_factory.mktemp("certificates")
    made = ["make", "--silent", "-C", str(folder), "-f", str(HERE / "Makefile"), "dev-certificates"]
    printed = subprocess.run(made, capture_output=True, text=True, check=True).stdout
    tls = folder / ".perennial" / "tls"
    assert {path.stat().st_mode & 0o077 for path in (tls, *tls.iterdir())} == {0}
    assert "PERENNIAL_TLS_CA=.perennial/tls/cert.pem" in printed
    certificate = tls / "cert.pem"
    return {
        "tls_cert": certificate,
        "tls_key": tls / "key.pem",
        "tls_ca": certificate,
        "tls_pages": True,
    }


@pytest.mark.server
def test_mlflow_with_tls_is_read_by_whoever_trusts_its_certificate(tmp_path, certificate, monkeypatch):
    server = MlflowServer(tmp_path, **certificate)
    try:
        server.start()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "training")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.accounts["training"].password)
        monkeypatch.setenv(CERTIFICATES, "")
        monkeypatch.delenv(CERTIFICATES)
        stranger = server.settings.model_copy(update={"tls_ca": None})
        with pytest.raises(TrackerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            versions.registry(stranger).find(MODEL, "champion")
        assert versions.registry(server.settings).find(MODEL, "champion") is None
        with pytest.raises(httpx.HTTPError):
            httpx.get(server.url.replace("https", "http") + "/health", timeout=5)
    finally:
        server.stop()


def test_both_pages_and_their_clients_follow_the_settings(tmp_path, certificate):
    settings = Settings(home=tmp_path, **certificate)
    processes = {process.name: process for process in table(settings)}
    commands = {name: process.command for name, process in processes.items()}
    # Not by their own commands, which read a certificate once.
    for name, page in (("airflow-api-server", "airflow"), ("mlflow", "mlflow")):
        assert commands[name] == (sys.executable, "-m", "perennial.local.secured_pages", page)
    given = {**base_environment(settings), **processes["airflow-scheduler"].environment}
    assert given["PERENNIAL_TRACKING_URL"].startswith("https://")
    assert given["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].startswith("https://")
    assert given[CERTIFICATES] == given["AIRFLOW__API__SSL_CERT"] == str(certificate["tls_cert"])
    plain = {process.name: process.command for process in table(Settings(home=tmp_path))}
    assert plain["mlflow"][1:5] == ("-m", "uvicorn", "--factory", "perennial.tracking_server.app:create_app")
    assert plain["airflow-api-server"][1:4] == ("-m", "airflow", "api-server")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tls_pages": True}, "PERENNIAL_TLS_PAGES needs"),
        ({"tls_ca": Path("nowhere.pem")}, "PERENNIAL_TLS_CA is nowhere.pem"),
        ({"tls_cert": Path("nowhere.pem")}, "PERENNIAL_TLS_CERT is nowhere.pem"),
    ],
)
def test_a_missing_file_is_told_before_anything_starts(tmp_path, given, named):
    with pytest.raises(SettingsError, match=named):
        table(Settings(home=tmp_path, **given))
