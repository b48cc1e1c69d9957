"""The accounts file, and what the started processes are told of it."""

from __future__ import annotations

import configparser
import json

import pytest

from perennial import account_file
from perennial.cli import main
from perennial.errors import SettingsError
from perennial.local import airflow
from perennial.local.handed_secrets import base_environment
from perennial.local.processes import table
from perennial.local.supervisor import set_up
from perennial.local.supervisord import write_config
from perennial.settings import Settings, load


def test_made_once_shown_once_and_private(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "state"))
    assert main(["local", "setup"]) == 0
    shown = capsys.readouterr().out
    path = tmp_path / "state" / "accounts.json"
    accounts = account_file.read(path)
    assert path.stat().st_mode & 0o077 == 0
    assert {name: one.role.value for name, one in accounts.items()} == {
        "admin": "admin", "training": "training", "release": "release",
        "approver": "approver", "operator": "operator", "viewer": "viewer",
    }  # fmt: skip
    for name, one in accounts.items():
        assert (one.password in shown) is one.role.is_person(), name
    assert main(["local", "setup"]) == 0
    assert capsys.readouterr().out == ""
    assert account_file.read(path) == accounts
    assert main(["local", "accounts"]) == 0
    assert not any(one.password in capsys.readouterr().out for one in accounts.values())


def test_passwords_of_the_environment_win_and_others_stay(tmp_path):
    settings = Settings(home=tmp_path, people="ann:approver")
    set_up(settings, lambda line: None)
    before = account_file.read(settings.accounts_file)
    given = json.dumps({"ann": "a password that is long"})
    said: list[str] = []
    set_up(settings.model_copy(update={"passwords": given, "people": "ann:viewer,ben:approver"}), said.append)
    after = account_file.read(settings.accounts_file)
    assert (after["ann"].password, after["ann"].role.value) == ("a password that is long", "viewer")
    assert after["training"] == before["training"]
    assert len([line for line in said if line.startswith("account ")]) == 1
    assert json.loads((settings.airflow_dir / airflow.PASSWORDS).read_text())["ann"] == after["ann"].password


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"people": "ann"}, "PERENNIAL_PEOPLE"),
        ({"passwords": "secret"}, "PERENNIAL_PASSWORDS"),
        ({"passwords": '{"nobody": "a password that is long"}'}, "nobody"),
        ({"passwords": '{"viewer": "short"}'}, "12 characters"),
    ],
)
def test_settings_that_do_not_fit_are_told(tmp_path, changes, message):
    settings = Settings(home=tmp_path).model_copy(update=changes)
    with pytest.raises(SettingsError, match=message):
        set_up(settings, lambda line: None)
    assert not settings.accounts_file.exists()


def test_a_file_that_others_may_read_is_refused(tmp_path):
    settings = Settings(home=tmp_path)
    set_up(settings, lambda line: None)
    settings.accounts_file.chmod(0o644)
    with pytest.raises(SettingsError, match="others may read"):
        account_file.read(settings.accounts_file)
    settings.accounts_file.chmod(0o600)
    settings.accounts_file.write_text("{}}")
    with pytest.raises(SettingsError, match="JSON"):
        account_file.read(settings.accounts_file)


def test_no_process_is_handed_a_password_or_another_persons_token(tmp_path, monkeypatch):
    given = {
        "PERENNIAL_HOME": str(tmp_path),
        "PERENNIAL_PASSWORDS": json.dumps({"approver": "a password that is long"}),
        "PERENNIAL_AIRFLOW_PASSWORD": "another password that is long",
        "PERENNIAL_TOKEN": "pn_a_token",
        "MLFLOW_TRACKING_USERNAME": "approver",
        "MLFLOW_TRACKING_PASSWORD": "a password that is long",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load()
    set_up(settings, lambda line: None)
    handed = base_environment(settings)
    secrets = {one.password for one in account_file.read(settings.accounts_file).values()}
    secrets |= {"another password that is long", "pn_a_token"}
    assert not {name for name, value in handed.items() if any(one in value for one in secrets)}
    assert "MLFLOW_TRACKING_USERNAME" not in handed
    assert not any(one in write_config(settings, table(settings)).read_text() for one in secrets)


def session_key(settings: Settings) -> str:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(settings.airflow_dir / airflow.SESSIONS)
    return parser["api_auth"]["jwt_secret"]


def test_airflow_knows_the_same_people(tmp_path):
    settings = Settings(home=tmp_path, people="ann:approver,vic:viewer")
    assert airflow.users(settings) == "perennial:admin,admin:admin,ann:op,vic:viewer"
    settings = Settings(home=tmp_path, people="ann:approver,vic:viewer")
    set_up(settings, lambda line: None)
    before = session_key(settings)
    later = settings.model_copy(update={"people": "vic:viewer"})
    set_up(later, lambda line: None)
    assert "ann" not in json.loads((settings.airflow_dir / airflow.PASSWORDS).read_text())
    after = session_key(later)
    assert before != after, "a session says its role and is asked nothing for a day"
    set_up(later, lambda line: None)
    assert session_key(later) == after
    set_up(later.model_copy(update={"passwords": '{"vic": "a password that is new"}'}), lambda line: None)
    assert session_key(later) != after, "a changed password ends the sessions too"
    assert airflow.users(Settings(home=tmp_path, people="")) == "perennial:admin,admin:admin"
