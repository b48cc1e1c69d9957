"""Reports of unexpected errors: none by default, and nothing of the data in those that arrive at a Sentry."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from perennial.reporting.errors_to_sentry import scrub

NAME, HOST = "Annika-4711", os.uname().nodename
CRASH = f"""
import sys, types
import click
from perennial import cli
@click.command()
@click.argument("words", nargs=-1)
def boom(words):
    person = "{NAME}"
    import logging
    try:
        float(person)
    except ValueError:
        logging.getLogger("perennial.serving.app").exception("no number: %s", person)
    logging.getLogger("perennial").error("a line without a traceback about %s", person)
    raise KeyError(f"no column {{person}}")
module = types.ModuleType("boom_module"); module.boom = boom
sys.modules["boom_module"] = module
cli.COMMANDS["boom"] = ("boom_module:boom", "x")
"""
FAIL = f"{CRASH}\ncli.main(['boom', '{NAME}'])"
EXPECTED = (
    "from perennial import cli\nsys = __import__('sys'); sys.exit(cli.main(['models', 'show', 'nothing']))"
)


class Sentry(HTTPServer):
    """Keeps the events of the envelopes that it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.envelopes: list[bytes] = []

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/7"

    @property
    def events(self) -> list[dict]:
        lines = [line for body in self.envelopes for line in body.splitlines() if line]
        return [event for line in lines if "exception" in (event := json.loads(line))]


class Taking(BaseHTTPRequestHandler):
    server: Sentry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        encoding = self.headers.get("content-encoding")
        if encoding == "gzip":
            body = gzip.decompress(body)
        elif encoding == "br":  # what the library prefers where it is installed
            import brotli

            body = brotli.decompress(body)
        self.server.envelopes.append(body)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    server = Sentry()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ended(script: str, tmp_path, **more: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"PERENNIAL_HOME": str(tmp_path / "state"), **more}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_report_says_where_and_nothing_of_the_data(sentry, tmp_path):
    (tmp_path / "dsn").write_text(sentry.dsn)
    done = ended(FAIL, tmp_path, PERENNIAL_SENTRY_DSN_FILE=str(tmp_path / "dsn"))
    assert done.returncode == 1
    assert "KeyError" in done.stderr
    kinds = [event["exception"]["values"][-1]["type"] for event in sentry.events]
    assert sorted(kinds) == ["KeyError", "ValueError"]
    for event in sentry.events:
        assert event["tags"] == {"process": "boom"}
        assert event["release"].startswith("perennial@")
        frames = event["exception"]["values"][-1]["stacktrace"]["frames"]
        assert any(frame["function"] == "boom" for frame in frames)
    sent = b"".join(sentry.envelopes).decode()
    for private in (NAME, HOST, str(tmp_path), "no column", "no number"):
        assert private not in sent


def test_an_expected_error_is_not_reported(sentry, tmp_path):
    done = ended(EXPECTED, tmp_path, PERENNIAL_SENTRY_DSN=sentry.dsn)
    assert "UnknownModel" in done.stderr
    assert sentry.envelopes == []


def test_without_the_setting_the_library_is_not_loaded(tmp_path):
    check = (
        f"{CRASH}\ntry:\n    cli.main(['boom'])\nexcept KeyError:\n    assert 'sentry_sdk' not in sys.modules"
    )
    assert ended(check, tmp_path).returncode == 0


def test_a_wrong_address_is_told_without_it(tmp_path):
    done = ended(f"{CRASH}\nsys.exit(cli.main(['boom']))", tmp_path, PERENNIAL_SENTRY_DSN="http://hidden")
    assert done.returncode == 11
    assert "PERENNIAL_SENTRY_DSN" in done.stderr
    assert "hidden" not in done.stderr


def test_what_is_no_error_is_not_sent_and_an_absolute_path_is_cut():
    assert scrub({"message": "x", "level": "error"}, "monitor") is None
    frame = {
        "filename": f"/home/{NAME}/model.py",
        "abs_path": f"/home/{NAME}/model.py",
        "vars": {"a": "1"},
        "lineno": 3,
    }
    sent = scrub(
        {"exception": {"values": [{"type": "E", "value": "x", "stacktrace": {"frames": [frame]}}]}}, "monitor"
    )
    assert sent is not None
    (kept,) = sent["exception"]["values"][0]["stacktrace"]["frames"]
    assert kept == {"filename": "model.py", "lineno": 3}
