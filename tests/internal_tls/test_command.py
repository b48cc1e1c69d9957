"""`perennial certificates` on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from perennial.cli import main
from perennial.errors import SettingsError, UsageError
from perennial.local.handed_secrets import base_environment
from perennial.local.processes import table
from perennial.settings import Settings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_INTERNAL_TLS", str(tmp_path / "certificates"))
    return tmp_path / "certificates"


def test_renew_says_what_it_made_and_show_lists_it(folder, capsys):
    assert main(["certificates", "renew", "--host", "mlflow=mlflow.internal", "--database", "perennial"]) == 0
    assert "mlflow: new certificate" in capsys.readouterr().out
    assert main(["certificates", "renew"]) == 0
    assert capsys.readouterr().out == "nothing is due\n"
    assert main(["certificates", "show", "--json"]) == 0
    rows = {row["certificate"]: row for row in json.loads(capsys.readouterr().out)}
    assert "mlflow.internal" in rows["mlflow"]["names"]
    assert rows["database-perennial"]["names"] == "CN=perennial"
    assert rows["envoy"]["names"] == "spiffe://perennial/envoy"


@pytest.mark.parametrize("host", ["mlflow", "mlflow=", "../mlflow=a", "mlflow=müller.internal"])
def test_a_host_that_is_none_is_refused_before_anything_is_made(folder, host):
    assert main(["certificates", "renew", "--host", host]) == UsageError.exit_code
    assert not folder.exists()


def test_a_relative_folder_is_the_same_for_processes_that_run_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = Settings(internal_tls=Path("certificates"))
    monkeypatch.chdir("/")
    assert base_environment(settings)["PERENNIAL_INTERNAL_TLS"] == str(tmp_path / "certificates")


def test_a_container_needs_the_certificate_of_its_own_process_only(folder):
    """Of Envoy, say: the table of all processes tells its command."""
    main(["certificates", "renew"])
    for path in folder.iterdir():
        if path.name != "envoy":
            shutil.rmtree(path)
    processes = {
        process.name: process for process in table(Settings(home=folder.parent, internal_tls=folder))
    }
    assert processes["envoy"].environment["PERENNIAL_INTERNAL_ROLE"] == "envoy"
    assert "certificates" not in processes  # no authority is here


def test_a_new_authority_is_announced(folder, capsys):
    main(["certificates", "renew"])
    capsys.readouterr()
    assert main(["certificates", "renew", "--new-authority"]) == 0
    said = capsys.readouterr().out
    assert "trusted from now on" in said
    assert "pool: trusts 2 authorities" in said
    assert "new certificate" not in said


@pytest.mark.parametrize(
    "given", [["--host", "mlflow"], ["--host", "../x=host"], ["--database", "a/b"], ["--host", "mlflow="]]
)
def test_names_that_are_none_are_refused_before_anything_is_made(folder, given):
    assert main(["certificates", "renew", *given]) == UsageError.exit_code
    assert not folder.exists()


def test_without_the_setting_it_says_what_to_set(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.delenv("PERENNIAL_INTERNAL_TLS", raising=False)
    assert main(["certificates", "renew"]) == SettingsError.exit_code
    assert "export PERENNIAL_INTERNAL_TLS" in capsys.readouterr().err
