"""`perennial serve` of one model without the plant: its answers are those of a server of the plant."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from clients.protocol_server import ORDERS, TYPED
from grpc_side.calls import Caller, message
from one_server import Server
from playwright.sync_api import sync_playwright
from serving_stack import free_ports
from signing import FOLDER, STRANGER, TRUSTED, signed
from starlette.testclient import TestClient
from tiny_models import tensor_body, tiny_version

from perennial.cli import main
from perennial.core.training.registration import VersionRecord
from perennial.errors import FileRefused, NotSigned, PortTaken, UnknownModel, UnknownVersion, UsageError
from perennial.serving.prediction_log_reader import PredictionLogReader
from perennial.serving.signed_files import SIGNED_FILES, read_signed, write_contents
from perennial.wiring import versions

ROW = {"amount": 2.5, "count": 1, "gift": True, "colour": "red", "ordered": "2015-12-01T10:00:00Z"}
ENTITY = {"test_id": "t1", "suite": "s"}

GROUPS = ["predictions", "inference protocol", "feedback", "server", "model repository"]
"""Groups of the routes on the page of the documentation, in its order."""


@pytest.fixture
def orders(tmp_path):
    return tiny_version(tmp_path, "orders", "2.0.0", bias=0.0, task=ORDERS, inputs=TYPED)


@contextmanager
def served(home, *options, end=signal.SIGINT):
    """Run the command on a free port until it gets the signal `end`; yields its address."""
    scratch = home.parent / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "perennial", "serve", "--port", "0", *map(str, options)]
    environment = {
        **os.environ,
        "PERENNIAL_HOME": str(home),
        "PERENNIAL_TRUSTED_KEYS": str(FOLDER),
        "TMPDIR": str(scratch),
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as server:
        said = []
        try:
            for line in server.stdout:
                said.append(line)
                if "http://" in line:
                    break
            assert "http://" in "".join(said), said
            yield said[-1].split()[-1].removesuffix("/docs")
        finally:
            server.send_signal(end)
    assert not list(scratch.glob("perennial-serve-*"))  # no copy of the model stays


def answers(ask):
    """The answers of a server to the routes that clients use, without what names the request."""
    tensors = [
        {"name": name, "datatype": kind, "shape": [1], "data": [value]}
        for (name, value), kind in zip(ROW.items(), ("FP64", "INT64", "BOOL", "BYTES", "BYTES"), strict=True)
    ]
    wrong = [{**ROW, "colour": "blue"}]
    bodies = {
        "/v1/models/orders/predict": [{"rows": [ROW, {**ROW, "amount": -3000}]}, {"rows": wrong}, {}],
        "/v2/models/orders/infer": [{"inputs": tensors, "outputs": [{"name": "class"}, {"name": "score"}]}],
    }
    answered = [ask("POST", path, json=body) for path, each in bodies.items() for body in each]
    answered += [ask("GET", path) for path in ("/v2", "/v2/models/orders", "/readyz", "/openapi.json")]
    return [(answer.status_code, without_names(answer.json())) for answer in answered]


def without_names(value):
    names = {"prediction_id", "prediction_ids", "version", "versions", "model_version"}
    if isinstance(value, dict):
        return {key: without_names(item) for key, item in value.items() if key not in names}
    return [without_names(item) for item in value] if isinstance(value, list) else value


def test_a_signed_folder_is_answered_for_as_in_the_plant_and_tried_in_a_browser(tmp_path, orders, chromium):
    plant = Server(tmp_path / "plant")
    plant.hold(orders)
    with served(tmp_path / "home", "--model", orders[1], "--log", tmp_path / "log") as address:
        assert answers(httpx.Client(base_url=address, timeout=60).request) == answers(plant.client.request)
        shown, asked = tried_in_browser(chromium, address)
    assert '"decision": 1' in shown
    assert all(url.startswith((address, "data:")) for url in asked)
    log = PredictionLogReader(tmp_path / "log").read("orders")
    assert len(log) == 4  # two rows, one by tensor, one from the page
    assert not (tmp_path / "home" / "serving").exists()


def tried_in_browser(chromium, address):
    """Send a prediction from the page; returns the shown answer and the addresses that the page asked."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1600})
        page.set_default_timeout(120_000)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/docs")
        page.locator(".opblock").first.wait_for()
        groups = page.locator(".opblock-tag-section h3").all()
        assert [group.get_attribute("data-tag") for group in groups] == GROUPS
        operation = page.locator("#operations-predictions-predict")
        operation.locator(".opblock-summary-control").click()
        operation.locator("tr[data-param-name=model] input").fill("orders")
        operation.locator("textarea.body-param__text").fill(
            httpx.Request("POST", address, json={"rows": [ROW]}).content.decode()
        )
        operation.get_by_role("button", name="Execute").click()
        answer = operation.locator(".live-responses-table")
        answer.wait_for()
        shown = answer.inner_text()
        browser.close()
    return shown, asked


def test_grpc_answers_beside_rest(tmp_path, orders):
    _, folder = tiny_version(tmp_path, "tiny", "1.0.0", bias=0.0)
    (port,) = free_ports(1)
    with served(tmp_path / "home", "--model", folder, "--grpc-port", port) as address, Caller(port) as caller:
        over_rest = httpx.post(f"{address}/v2/models/tiny/infer", json=tensor_body(), timeout=60).json()
        answer = caller.infer(message("tiny"))
    assert list(answer.outputs[0].contents.fp32_contents) == pytest.approx(over_rest["outputs"][0]["data"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert (
            serve("--model", folder, "--port", 0, "--grpc-port", taken.getsockname()[1])
            == PortTaken.exit_code
        )


def serve(*arguments):
    return main(["serve", *map(str, arguments)])


def test_files_that_nobody_trusted_signed_are_serve(tmp_path, orders, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PERENNIAL_TRUSTED_KEYS", str(FOLDER))
    _, folder = orders
    signed(folder, "orders", key=STRANGER)
    assert serve("--model", folder, "--port", "0") == NotSigned.exit_code
    assert "--unsigned" in capsys.readouterr().err
    (tmp_path / "file").touch()
    no_folder = tmp_path / "file" / "log"
    assert serve("--model", folder, "--unsigned", "--log", no_folder, "--port", "0") == FileRefused.exit_code
    assert f"{no_folder} cannot be written" in capsys.readouterr().err
    (folder / SIGNED_FILES).unlink()
    assert serve("--model", folder / "model.onnx", "--port", "0") == NotSigned.exit_code
    pickle = tmp_path / "model.pkl"
    pickle.write_bytes(b"\x80\x04.")
    assert serve("--model", pickle, "--unsigned", "--port", "0") == FileRefused.exit_code
    assert "never a pickle" in capsys.readouterr().err
    assert serve("orders", "--unsigned") == UsageError.exit_code
    assert serve() == UsageError.exit_code


def test_files_that_the_caller_trusts_are_served_to_this_machine_only(tmp_path, orders):
    _, folder = orders
    (folder / SIGNED_FILES).unlink()
    with served(
        tmp_path / "home", "--model", folder / "model.onnx", "--unsigned", end=signal.SIGTERM
    ) as address:
        client = httpx.Client(base_url=address, timeout=60)
        path, body = "/v1/models/orders/predict", {"rows": [ROW]}
        answer = client.post(path, json=body)
        assert answer.status_code == 200
        assert answer.json()["version"] == "0.0.0"
        assert client.post(path, json=body, headers={"origin": address}).status_code == 200
        for foreign in ({"origin": "http://shop.example"}, {"origin": "null"}, {"host": "shop.example"}):
            assert client.post(path, json=body, headers=foreign).status_code == 403, foreign
        assert client.post("/v1/feedback", json={"labels": []}).status_code == 401


def test_a_server_that_cannot_keep_its_answers_is_not_ready(tmp_path, orders, monkeypatch):
    log, statuses = tmp_path / "log", []

    def wait_until(status, client):
        end = time.monotonic() + 120
        while (now := client.get("/v2/health/ready").status_code) != status and time.monotonic() < end:
            time.sleep(0.1)
        statuses.append(now)

    def ask(server, sockets):
        client = TestClient(server.config.app, base_url="http://127.0.0.1")
        wait_until(200, client)
        log.rmdir()
        log.touch()
        wait_until(503, client)
        log.unlink()
        wait_until(200, client)
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", ask)
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PERENNIAL_TRUSTED_KEYS", str(FOLDER))
    assert serve("--model", orders[1], "--log", log, "--port", "0") == 0
    assert statuses == [200, 503, 200]


def test_the_model_repository_needs_a_key_as_on_the_plant(tmp_path, orders, monkeypatch, capsys):
    claims = base64.b64encode(json.dumps({"sub": "a", "perennial": {"repository": ["*"]}}).encode())
    home = tmp_path / "home"
    monkeypatch.setenv("PERENNIAL_HOME", str(home))
    assert main(["key", "add", "operator", "--right", "repository"]) == 0
    key = capsys.readouterr().out.strip()
    (port,) = free_ports(1)
    with served(home, "--model", orders[1], "--grpc-port", port) as address, Caller(port) as caller:
        client = httpx.Client(base_url=address, timeout=60)
        paths = ("index", "models/orders/load", "models/orders/unload")
        for given in ({}, {"authorization": "Bearer no"}, {"x-perennial-claims": claims.decode()}):
            answers = [client.post(f"/v2/repository/{path}", headers=given) for path in paths]
            assert [answer.status_code for answer in answers] == [401, 401, 401], given
        listed = client.post("/v2/repository/index", headers={"authorization": f"Bearer {key}"})
        assert [entry["state"] for entry in listed.json()] == ["READY"]
        assert caller.code(b"", "RepositoryIndex") == "UNAUTHENTICATED"
        assert caller.code(b"", "RepositoryIndex", authorization=f"Bearer {key}") == "OK"


def test_the_champion_and_a_named_version_come_from_the_registry(tmp_path, orders, monkeypatch, capsys):
    ref, folder = orders
    record = VersionRecord(ref=ref, run_id="run", created=datetime(2026, 1, 1, tzinfo=UTC), tags={})

    known = {("orders", "champion"), ("orders", "2.0.0")}

    def fetch(asked, into):
        write_contents(into, read_signed(folder, asked.model, asked.digest, TRUSTED))

    registry = SimpleNamespace(
        find=lambda model, which: record if (model, which) in known else None,
        versions=lambda model: [record] if model == "orders" else [],
        fetch=fetch,
    )
    answered = []

    def ask(server, sockets):
        client = TestClient(server.config.app, base_url="http://127.0.0.1")
        answered.append(client.post("/v1/models/orders/predict", json={"rows": [ROW]}).json())
        sockets[0].close()

    monkeypatch.setattr(versions, "registry", lambda settings: registry)
    monkeypatch.setattr(uvicorn.Server, "run", ask)
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PERENNIAL_TRUSTED_KEYS", str(FOLDER))
    assert serve("orders", "--port", "0") == 0
    assert serve("orders:2.0.0", "--port", "0") == 0
    assert [(answer["version"], answer["digest"]) for answer in answered] == [("2.0.0", ref.digest)] * 2
    assert serve("orders:1.0.0", "--port", "0") == UnknownVersion.exit_code
    assert "serve one of them: 2.0.0" in capsys.readouterr().err
    assert serve("nope", "--port", "0") == UnknownModel.exit_code
    assert "known: defect_predictor" in capsys.readouterr().err
    assert serve("wine_cultivar", "--port", "0") == UnknownVersion.exit_code
    assert "perennial run wine_cultivar" in capsys.readouterr().err
