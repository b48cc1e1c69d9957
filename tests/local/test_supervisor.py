"""What a person meets when starting the local processes."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from xmlrpc.client import Fault

import pytest
from serving_stack import free_ports
from supervisor.xmlrpc import Faults

from perennial import account_file
from perennial.cli import main
from perennial.errors import PortTaken, SettingsError
from perennial.local import airflow, supervisor, supervisord
from perennial.settings import Settings


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_named_before_anything_starts(tmp_path, taken, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "state"))
    for name, port in zip(("MLFLOW", "AIRFLOW", "ENVOY", "ENVOY_ADMIN"), free_ports(4), strict=True):
        monkeypatch.setenv(f"PERENNIAL_PORT_{name}", str(port))
    monkeypatch.setenv("PERENNIAL_PORT_MONITOR", str(taken))
    assert main(["local", "up"]) == PortTaken.exit_code
    errors = capsys.readouterr().err
    assert str(taken) in errors
    assert "PERENNIAL_PORT_MONITOR" in errors
    assert not (tmp_path / "state").exists()


def test_two_processes_on_one_port_are_refused(tmp_path):
    settings = Settings(home=tmp_path, port_mlflow=5999, port_airflow=5999)
    with pytest.raises(PortTaken, match="both MLflow and Airflow"):
        supervisor.check_ports(settings)


def test_ports_of_a_pool_must_be_numbers(tmp_path):
    with pytest.raises(SettingsError, match="PERENNIAL_PORTS_STABLE"):
        Settings(home=tmp_path, ports_stable="3101;3102").ports("stable")


def test_each_server_has_a_port_for_grpc(tmp_path):
    assert Settings(home=tmp_path, ports_stable="4000,4001").grpc_ports("stable") == (4100, 4101)
    settings = Settings(home=tmp_path, ports_stable="4000,4001", ports_stable_grpc="5001")
    with pytest.raises(SettingsError, match="1 ports for 2 servers"):
        settings.grpc_ports("stable")
    names = ("port_mlflow", "port_airflow", "port_envoy", "port_monitor")
    *free, port = free_ports(5)
    taken = Settings(
        home=tmp_path,
        **dict(zip(names, free, strict=True)),
        ports_stable=str(port),
        ports_stable_grpc=str(port),
    )
    with pytest.raises(PortTaken, match="both model server stable 1 and model server stable 1 gRPC"):
        supervisor.check_ports(taken)


def test_secrets_are_made_once_and_private(tmp_path):
    settings = Settings(home=tmp_path)
    made = airflow.make_secrets(settings)
    account_file.make(settings.accounts_file, settings.accounts, {})
    airflow.make_passwords(settings)
    assert airflow.make_secrets(settings) == made
    private = (
        settings.state / airflow.SECRETS,
        settings.airflow_dir / "passwords.json",
        settings.accounts_file,
    )
    for path in private:
        assert path.stat().st_mode & 0o077 == 0


def test_everything_listens_on_loopback(tmp_path):
    env = airflow.environment(Settings(home=tmp_path), "api-server")
    assert env["AIRFLOW__API__HOST"] == "127.0.0.1"
    settings = Settings(home=tmp_path)
    assert settings.host == "127.0.0.1"


def test_down_with_nothing_up_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "state"))
    assert main(["local", "down"]) == 0
    assert "nothing of ours runs" in capsys.readouterr().out


@pytest.mark.parametrize("code", [Faults.SHUTDOWN_STATE, Faults.BAD_NAME])
def test_a_supervisord_that_is_ending_does_not_run(tmp_path, monkeypatch, code):
    """It refuses each question from then on."""
    settings = Settings(home=tmp_path)

    def refuse():
        raise Fault(code, "")

    ending = SimpleNamespace(getState=refuse, getAllProcessInfo=refuse)
    monkeypatch.setattr(supervisord, "control", lambda settings: ending)
    supervisord.socket_path(settings).touch()
    try:
        if code == Faults.SHUTDOWN_STATE:
            assert (supervisord.running(settings), supervisord.states(settings)) == (False, {})
        else:
            with pytest.raises(Fault):
                supervisord.running(settings)
    finally:
        supervisord.socket_path(settings).unlink()


def test_state_and_logs_are_for_their_owner_only(tmp_path):
    settings = Settings(home=tmp_path / "state")
    supervisor.set_up(settings, lambda text: None)
    folders = (settings.state, settings.state / "logs", settings.mlflow_dir, settings.airflow_dir)
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 4
    assert "umask=077" in supervisord.write_config(settings, []).read_text().splitlines()
