"""No running process of Airflow or MLflow has a secret in its environment, where a child or a crash report finds it."""

from __future__ import annotations

import configparser
import json
import os
from pathlib import Path

import pytest

from perennial import account_file
from perennial.local import airflow as local_airflow
from perennial.settings import Settings

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]


def secret_texts(settings: Settings) -> set[str]:
    """Every secret text of the installation."""
    texts = {account.password for account in account_file.read(settings.accounts_file).values()}
    texts |= set(json.loads((settings.airflow_dir / local_airflow.PASSWORDS).read_text()).values())
    texts |= set(json.loads((settings.state / local_airflow.SECRETS).read_text()).values())
    texts |= {settings.internal_secret}
    for name in ("airflow.cfg", local_airflow.SESSIONS):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(settings.airflow_dir / name)
        texts |= {parser["api_auth"]["jwt_secret"], parser["api"]["secret_key"], parser["core"]["fernet_key"]}
    return texts


def environments(group: int) -> dict[int, str]:
    """Environments of the processes of a group, as the kernel shows them, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        try:
            if os.getpgid(pid) == group:
                found[pid] = path.read_text(errors="replace")
        except OSError:  # it ended meanwhile
            continue
    return found


def test_no_part_of_airflow_has_a_secret_in_its_environment(airflow):
    texts = secret_texts(airflow.settings)
    shown = {}
    for process in airflow.processes:
        shown |= environments(process.pid)
    # Some parts write their title over their first environment.
    assert any("AIRFLOW_CONFIG=" in environment for environment in shown.values())
    for pid, environment in shown.items():
        assert not [text for text in texts if text in environment], pid


def test_mlflow_has_no_secret_in_its_environment_and_nothing_of_airflow(mlflow_server):
    texts = secret_texts(mlflow_server.settings)
    shown = environments(mlflow_server._process.pid)
    assert any("PERENNIAL_HOME=" in environment for environment in shown.values())
    for environment in shown.values():
        assert "AIRFLOW__" not in environment
        assert "AIRFLOW_CONFIG" not in environment
        assert not [text for text in texts if text in environment]
