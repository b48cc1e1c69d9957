"""Processes under different Unix accounts: neither account reads or changes what only the other may."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perennial import files
from perennial.errors import SettingsError
from perennial.local import handed_secrets, supervisor, supervisord, unix_accounts
from perennial.local.processes import table
from perennial.settings import Settings
from perennial.state_folder import StateFolder, StateFolders

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes as others")
ACCOUNTS = "mlflow=daemon,perennial=nobody"
SERVER = "postgresql+psycopg://perennial@127.0.0.1:1/none"
PROBE = """
for path in {paths}; do
cat "$path" >/dev/null 2>&1 && echo "reads $path"
{{ echo >>"$path"; }} 2>/dev/null && echo "writes $path"
done
for folder in {folders}; do touch "$folder/new-$$" 2>/dev/null && echo "writes $folder"; done
id -un; umask; echo done
"""


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings with a state folder that other accounts can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="perennial-unix-"))
    folder.chmod(0o711)
    yield Settings(project=folder, home=folder / "state", unix_accounts=ACCOUNTS, database_url=SERVER)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("mlflow=daemon", "not one account for each"),
        ("mlflow=daemon,perennial=nobody,envoy=bin", "not one account for each"),
        ("mlflow=daemon,training=bin", "not one account for each"),
        ("mlflow=daemon,perennial=nobody,training=bin,training=games", "not one account for each"),
        ("mlflow=daemon,perennial=nobody,training=", "no Unix account ''"),
        ("mlflow=daemon,perennial=no-such-account", "no Unix account 'no-such-account'"),
        ("mlflow=daemon,perennial=root", "root is root"),
    ],
)
def test_accounts_that_cannot_be_are_refused(given, words):
    with pytest.raises(SettingsError, match=words):
        unix_accounts.read(Settings(unix_accounts=given))


def test_only_root_starts_processes_as_others(settings, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SettingsError, match="only root"):
        supervisor.up(settings, lambda line: None)
    assert not settings.state.exists()


def test_what_two_accounts_cannot_share_is_refused(settings, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SettingsError, match="daemon, daemon are the same"):
        unix_accounts.check(settings.model_copy(update={"unix_accounts": "mlflow=daemon,perennial=daemon"}))
    with pytest.raises(SettingsError, match="daemon, nobody, nobody are the same"):
        unix_accounts.check(settings.model_copy(update={"unix_accounts": f"{ACCOUNTS},training=nobody"}))
    unix_accounts.check(settings)
    with pytest.raises(SettingsError, match="database server"):
        unix_accounts.check(settings.model_copy(update={"database_url": None}))
    with pytest.raises(SettingsError, match="files of other accounts"):
        unix_accounts.check(settings.model_copy(update={"prune_daily": True}))


@as_root
def test_an_account_that_cannot_read_python_is_refused_before_anything_is_made(settings, monkeypatch):
    hidden = settings.project / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(hidden / "python"))
    with pytest.raises(
        SettingsError, match=r"daemon cannot run Perennial: .*hidden/python: Permission denied"
    ):
        supervisor.up(settings, lambda line: None)
    assert not settings.state.exists()


def test_every_folder_of_the_settings_is_made_for_the_processes(settings):
    """The state folder is root's: a folder that root does not make, no process can make."""
    declared = [name for name, value in vars(StateFolders).items() if isinstance(value, StateFolder)]
    folders = {getattr(settings, name).name for name in declared}
    assert "tables" in folders
    assert folders - {settings.mlflow_dir.name} <= set(unix_accounts.FOLDERS)


def test_only_a_third_account_gets_a_runner_which_only_airflow_asks(settings):
    def asking(given: Settings) -> set[str]:
        return {
            process.name for process in table(given) if "PERENNIAL_TRAINING_SOCKET" in process.environment
        }

    assert "training" not in {process.name for process in table(settings)}
    assert asking(settings) == set()
    third = settings.model_copy(update={"unix_accounts": f"{ACCOUNTS},training=games"})
    owners = {process.name: process.owner.name for process in table(third)}
    assert {name for name, owner in owners.items() if owner == "games"} == {"training"}
    assert asking(third) == {name for name in owners if name.startswith("airflow-")}


@as_root
def test_each_process_reaches_its_own_files_only(settings):
    """Shells in place of MLflow's server and of Airflow's scheduler, started by supervisord."""
    supervisor.set_up(settings, lambda line: None)
    (settings.mlflow_dir / "auth.db").write_text("passwords")
    (settings.airflow_dir / "a-link").symlink_to("/etc/passwd")
    settings.serving_dir.mkdir()
    (settings.serving_dir / "log.jsonl").write_text("predictions")
    handed_secrets.write(settings)
    processes = {process.name: process for process in table(settings)}
    unix_accounts.own(settings)
    assert {process.owner.name for name, process in processes.items() if name != "mlflow"} == {"nobody"}
    state = settings.state
    secrets = state / "secrets" / "processes"
    paths = [
        state / "accounts.json", state / "secrets.json", state / "supervisord.conf",
        settings.mlflow_dir / "auth.db", settings.airflow_dir / "sessions.cfg", settings.airflow_dir / "passwords.json",
        secrets / "mlflow" / "accounts.json", secrets / "airflow-scheduler" / "accounts.json",
        state / "secrets" / "internal", state / "keys" / "signing.pem", settings.serving_dir / "log.jsonl",
        state / "data.lock",
    ]  # fmt: skip
    folders = [state, secrets, settings.mlflow_dir, settings.mlflow_dir / "artifacts", settings.serving_dir]
    script = settings.project / "probe.sh"
    script.write_text(PROBE.format(paths=" ".join(map(str, paths)), folders=" ".join(map(str, folders))))
    started = [
        replace(processes[name], command=("/bin/sh", str(script)), after_migration=False)
        for name in ("mlflow", "airflow-scheduler")
    ]
    supervisord.launch(
        settings, started, {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(os.sys.path)}
    )
    try:
        found = {process.name: answer(state / "logs" / f"{process.name}.log") for process in started}
    finally:
        supervisor.down(settings, lambda line: None)
    assert found["mlflow"] == {
        "daemon", "0077", *both(settings.mlflow_dir / "auth.db"), *both(secrets / "mlflow" / "accounts.json"),
        f"writes {settings.mlflow_dir}", f"writes {settings.mlflow_dir / 'artifacts'}",
    }  # fmt: skip
    own = (
        settings.airflow_dir / "sessions.cfg", settings.airflow_dir / "passwords.json",
        secrets / "airflow-scheduler" / "accounts.json", state / "secrets" / "internal", state / "keys" / "signing.pem",
        settings.serving_dir / "log.jsonl", state / "data.lock",
    )  # fmt: skip
    assert found["airflow-scheduler"] == {
        "nobody", "0027", *(line for path in own for line in both(path)),
        f"writes {settings.mlflow_dir / 'artifacts'}", f"writes {settings.serving_dir}",
    }  # fmt: skip
    assert Path("/etc/passwd").stat().st_uid == 0


def both(path: Path) -> tuple[str, str]:
    return f"reads {path}", f"writes {path}"


def answer(log: Path) -> set[str]:
    """The lines of a probe; supervisord starts it again and again, so the first answer counts."""
    deadline = time.monotonic() + 20
    while not log.is_file() or "done\n" not in log.read_text():
        assert time.monotonic() < deadline, log
        time.sleep(0.1)
    return set(log.read_text().partition("done\n")[0].splitlines())


@as_root
def test_a_file_system_without_access_control_lists_is_named(settings, monkeypatch):
    third = settings.model_copy(update={"unix_accounts": f"{ACCOUNTS},training=games"})
    supervisor.set_up(third, lambda line: None)
    handed_secrets.write(third)

    def unsupported(*given: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "setxattr", unsupported)
    with pytest.raises(SettingsError, match="takes no access control list: Operation not supported"):
        unix_accounts.own(third)


@as_root
def test_root_goes_through_no_link_of_others_and_leaves_files_to_their_owner(settings):
    settings.state.mkdir()
    os.chown(settings.state, 1, 1)
    foreign = settings.project / "foreign"
    foreign.write_text("of somebody else")
    path = settings.state / "x.json"
    (settings.state / f".x.json.{os.getpid()}").symlink_to(foreign)
    files.write_text(path, json.dumps("new"), files.PRIVATE)
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (1, 0o600)
    assert foreign.read_text() == "of somebody else"
    os.chown(path, 2, 2)
    files.write_text(path, json.dumps("newer"), files.PRIVATE)
    assert path.stat().st_uid == 2
