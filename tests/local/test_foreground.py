"""One process in the foreground, and the question whether it is ready."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from perennial import account_file
from perennial.errors import UsageError
from perennial.local import containers, handed_secrets, probe, supervisor
from perennial.settings import load

DATABASE = "postgresql+psycopg://plant:word@127.0.0.1:1/none"


@pytest.fixture
def executed(tmp_path, monkeypatch) -> list:
    """What the process would have become: command and environment."""
    seen: list = []
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", DATABASE)
    supervisor.set_up(load(), lambda line: None)
    handed_secrets.write(load())
    monkeypatch.delenv("PERENNIAL_DATABASE_URL")
    monkeypatch.setattr(os, "execve", lambda path, command, environment: seen.append((command, environment)))
    monkeypatch.setattr(os, "chdir", lambda folder: None)
    monkeypatch.setattr(os, "umask", lambda mask: 0)
    before = dict(os.environ)
    yield seen
    for name in set(os.environ) - set(before):
        del os.environ[name]


def test_a_process_gets_the_secrets_that_were_handed_to_it(executed):
    """The container itself knows none: a file of the state folder, for this process only, holds them."""
    containers.become("guard")
    ((command, environment),) = executed
    assert command[1:] == ("-m", "perennial", "release", "guard")
    assert Path(environment["PERENNIAL_DATABASE_URL_FILE"]).read_text() == DATABASE
    accounts = account_file.read(Path(environment["PERENNIAL_ACCOUNTS_PATH"]))
    assert set(accounts) == {"training", "release"}
    assert not any(DATABASE in value for value in environment.values())


def test_a_process_that_needs_no_secret_gets_none(executed):
    containers.become("airflow-dag-processor")
    ((_, environment),) = executed
    assert not [name for name in environment if name.startswith("PERENNIAL_") and name.endswith("_FILE")]
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"


@pytest.mark.parametrize("name", ["server-stable-9", "notifier", ""])
def test_a_process_that_is_not_there_is_named(executed, name):
    with pytest.raises(UsageError, match=f"no process is named '{name}'"):
        containers.become(name)


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.headers["authorization"] == "Bearer word"
        self.send_response(200 if known or self.path != "/metrics" else 403)
        self.end_headers()
        self.wfile.write(b'{"scheduler": {"status": "healthy"}, "triggerer": {"status": null}}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_ready_is_what_answers_as_asked(address, tmp_path):
    word = tmp_path / "word"
    word.write_text("word")
    assert probe.main([f"tcp://{address}"]) == 0
    assert probe.main([f"http://{address}/livez"]) == 0
    assert probe.main([f"http://{address}/metrics", "--bearer", str(word)]) == 0
    assert probe.main([f"http://{address}/health", "--part", "scheduler"]) == 0


def test_what_is_not_ready_says_why(address, tmp_path, capsys):
    health = f"http://{address}/health"
    assert probe.main([f"http://{address}/metrics"]) == 1
    assert probe.main([health, "--part", "triggerer"]) == 1
    assert probe.main([health, "--part", "dag_processor"]) == 1
    assert probe.main([health, "--bearer", str(tmp_path / "none")]) == 1
    assert probe.main(["tcp://127.0.0.1:1"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in said[:3]] == [
        f"http://{address}/metrics answers 403", "triggerer is not there yet", "dag_processor is not there yet",
    ]  # fmt: skip
    assert "No such file" in said[3]
    assert "refused" in said[4]


@pytest.mark.parametrize(
    "arguments", [[], ["file:///etc/passwd"], ["tcp://h:1", "--part"], ["tcp://h:1", "--x", "y"]]
)
def test_other_arguments_are_refused(arguments, capsys):
    assert probe.main(arguments) == 2
    assert "usage" in capsys.readouterr().err
