"""`perennial bento`: what it builds answers by itself as a server of the plant does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest
import yaml
from clients.protocol_server import FLOWERS, ORDERS, TYPED
from one_server import Server
from packing.thin_environment import thin_environment
from serving_stack import free_ports, until
from signing import FOLDER, TRUSTED
from tiny_models import tensor_body, tiny_version

from perennial.cli import main
from perennial.core.input_spec import columns_of
from perennial.core.training.registration import VersionRecord
from perennial.errors import UnknownVersion, UsageError
from perennial.serving import headers
from perennial.serving.prediction_log_reader import PredictionLogReader
from perennial.serving.signed_files import read_signed, write_contents
from perennial.wiring import versions

ROW = {"amount": 2.5, "count": 1, "gift": True, "colour": "red", "ordered": "2015-12-01T10:00:00Z"}
BACKGROUND = [[0.0] * len(columns_of(TYPED)), [1.0] * len(columns_of(TYPED))]
REQUESTS = [
    ("POST", "/v1/models/orders/predict", {"rows": [ROW, {**ROW, "amount": -3000}]}),
    ("POST", "/v1/models/orders/predict", {"rows": [{**ROW, "colour": "blue"}]}),
    ("POST", "/v2/models/flowers/infer", tensor_body(3)),
    ("GET", "/v2/models/orders", None),
    ("GET", "/v2", None),
    ("GET", "/openapi.json", None),
    ("GET", "/readyz", None),
]

EXPLAINED = ("POST", "/v1/models/orders/predict", {"rows": [ROW], "explain": True})


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """Two versions in a registry, and the environment of the commands."""
    made = [
        tiny_version(tmp_path, "orders", "2.0.0", 0.0, task=ORDERS, inputs=TYPED, background=BACKGROUND),
        tiny_version(tmp_path, "flowers", "1.0.0", 0.0, task=FLOWERS),
    ]

    def find(model, which):
        for ref, _ in made:
            if ref.model == model and which in ("champion", ref.version):
                return VersionRecord(ref=ref, run_id="run", created=datetime(2026, 1, 1, tzinfo=UTC), tags={})
        return None

    def fetch(asked, into):
        folder = next(folder for ref, folder in made if ref == asked)
        write_contents(into, read_signed(folder, asked.model, asked.digest, TRUSTED))

    monkeypatch.setattr(versions, "registry", lambda settings: SimpleNamespace(find=find, fetch=fetch))
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PERENNIAL_TRUSTED_KEYS", str(FOLDER))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentos"))
    return made


@contextmanager
def serving(python, bento, folder):
    """Serve a bento from an empty folder with nothing of this checkout; yields a client."""
    (port,) = free_ports(1)
    empty = folder / "empty"
    empty.mkdir()
    environment = {
        "PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(folder / "own"), "PERENNIAL_HOME": str(folder / "state"),
        "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [python, "-m", "bentoml", "serve", bento, "--host", "127.0.0.1", "--port", str(port)]
    said = (folder / "said.log").open("wb")
    with subprocess.Popen(
        command, cwd=empty, env=environment, stdout=said, stderr=said, start_new_session=True
    ) as server:
        try:
            secret = folder / "state" / "secrets" / "internal"
            until(lambda: server.poll() is not None or secret.exists(), 240, "the secret")
            sent = {headers.SECRET: secret.read_text().strip()}
            client = httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers=sent, timeout=120, trust_env=False
            )
            until(lambda: server.poll() is not None or answers(client, "/readyz"), 240, "the bento is ready")
            yield client
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # its worker notices, and ends
    assert not list(empty.iterdir())


def files(bento) -> set[str]:
    """Return the files of a bento but the compiled ones that Python keeps."""
    return {str(path) for path in bento.rglob("*") if "__pycache__" not in path.parts}


def answers(client, path) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.HTTPError:
        return False


def asked(client, method, path, body) -> tuple[int, bytes]:
    """Return status and content of an answer, the prediction ids, which are new in each answer, replaced."""
    answered = []

    def done() -> bool:
        answered.append(client.request(method, path, json=body))
        return answered[-1].status_code != 429  # an explanation on a busy machine

    until(done, 120, path)
    return answered[-1].status_code, re.sub(rb"\b[0-9a-f]{32}\b", b"ID", answered[-1].content)


@pytest.mark.server
def test_a_bento_answers_from_its_own_folder_as_the_plant_does(tmp_path, registered, capsys):
    assert main(["bento", "orders:2.0.0", "flowers", "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert [ref["model"] for ref in built["versions"]] == ["orders", "flowers"]
    bento = tmp_path / "moved"
    os.rename(built["folder"], bento)
    assert yaml.safe_load((bento / "bento.yaml").read_text())["service"] == "service:ModelServer"
    (wheel,) = (bento / "env" / "python" / "wheels").iterdir()
    python = thin_environment(tmp_path / "thin", bento / "env" / "python" / "requirements.txt", wheel)
    imported = subprocess.run(
        [python, "-c", "import perennial, importlib.util as u; print(perennial.__file__, u.find_spec('mlflow'))"],
        cwd="/", env={}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert imported.startswith(str(tmp_path / "thin"))
    assert imported.endswith(" None\n")  # nothing of the platform's other tools
    plant = Server(tmp_path / "plant")
    plant.hold(*registered)
    before = files(bento)
    with serving(python, bento, tmp_path) as client:
        for method, path, body in REQUESTS:
            expected, answer = (asked(each, method, path, body) for each in (plant.client, client))
            assert answer == expected, path
        status, explained = asked(client, *EXPLAINED)
        assert status == 200
        assert set(json.loads(explained)["predictions"][0]["attributions"]) == set(ROW)
        refused = client.get("/v2", headers={headers.SECRET: "another"})
        assert refused.status_code == 403
    assert len(PredictionLogReader(tmp_path / "state" / "serving" / "log").read("orders")) == 3
    assert files(bento) == before


def test_an_unknown_version_and_a_model_named_twice_are_refused_before_anything_is_built(
    tmp_path, registered
):
    assert main(["bento", "orders:9.0.0"]) == UnknownVersion.exit_code
    assert main(["bento", "orders", "orders:2.0.0"]) == UsageError.exit_code
    assert not (tmp_path / "bentos").exists()
