"""The published OpenAPI document of the REST form, and schemathesis against a server by it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clients.protocol_server import hold_models, protocol_server
from clients.published_document import published_document
from one_server import Server

from perennial.adapters.envoy.routes import ABOUT_MODEL, OF_SERVER, PREDICTIONS, REPOSITORY
from perennial.cli import main
from perennial.settings import Settings

DOCUMENT = Path(__file__).parents[3] / "docs" / "openapi.yaml"


@pytest.fixture
def document():
    return yaml.safe_load(DOCUMENT.read_text())


def test_the_document_has_the_routes_that_are_served_and_that_clients_reach(document, tmp_path):
    documented = {(path, method) for path, item in document["paths"].items() for method in item}
    documented = {(path, method.upper()) for path, method in documented if method in ("get", "post")}
    server = Server(tmp_path)
    hold_models(server, tmp_path)
    for path, method in documented:
        asked = path.format(model="flowers", version="1.0.0")
        answer = server.client.request(method, asked)
        assert "no route" not in answer.text, asked
        assert str(answer.status_code) in document["paths"][path][method.lower()]["responses"], asked
    routed = {(path.format("{model}"), "POST") for path in (*PREDICTIONS, *REPOSITORY)}
    routed |= {(path.format("{model}"), "GET") for path in ABOUT_MODEL} | set(OF_SERVER)
    assert routed <= documented


@pytest.mark.slow
def test_schemathesis_finds_no_failure(document, tmp_path, monkeypatch, capsys):
    """A generic client knows no model: that a tensor fits none is a 400, which the document says."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    assert main(["key", "add", "operator", "--right", "repository", "--right", "predict"]) == 0
    key = capsys.readouterr().out.strip()
    with protocol_server(tmp_path, Settings(home=tmp_path).client_keys) as address:
        run(DOCUMENT, tmp_path, address, key, "--exclude-checks", "positive_data_acceptance")
        run(of_one_model(document, tmp_path), tmp_path, address, key, "--mode", "positive")


NAMES = """
[parameters]
"path.MODEL_NAME" = "flowers"
"path.MODEL_VERSION" = "1.0.0"
"""
"""Names that a client has from the server: that of a model which is not there is a 404, and the document of the
protocol lists for the metadata and readiness of a model no error status at all."""
ANY_INPUTS = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400]
"""
"""The document lists 400 for `infer`, and lets any name, datatype and shape be an input of any model."""


@pytest.mark.slow
def test_schemathesis_finds_no_failure_by_the_document_of_the_protocol(tmp_path):
    """Its six operations with every check; then `infer` with inputs that the model takes, which must be answered."""
    document, path = published_document(), tmp_path / "published.json"
    with protocol_server(tmp_path) as address:
        (tmp_path / "schemathesis.toml").write_text(NAMES + ANY_INPUTS)
        path.write_text(json.dumps(document))
        run(path, tmp_path, address, "none")
        (tmp_path / "schemathesis.toml").write_text(NAMES)
        (infer,) = (item["post"] for item in document["paths"].values() if "post" in item)
        infer["requestBody"]["required"] = True
        schemas = document["components"]["schemas"]
        schemas["inference_request"]["properties"]["inputs"] |= {"minItems": 1, "maxItems": 1}
        schemas["inference_request"]["properties"]["outputs"]["uniqueItems"] = True
        schemas |= {
            "request_input": flowers_tensor(),
            "request_output": {"enum": [{"name": name} for name in OUTPUTS]},
        }
        path.write_text(json.dumps(document))
        run(path, tmp_path, address, "none", "--mode", "positive", "--include-path-regex", "infer$")


OUTPUTS = ("probabilities", "class", "decision", "confidence")


def flowers_tensor() -> dict:
    """Return the schema of the one input of `flowers`."""
    # Whole numbers: null in their place is refused, and so no valid request of this document.
    numbers = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
    data = {"type": "array", "items": numbers, "minItems": 8, "maxItems": 8}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"enum": ["features"]},
            "shape": {"enum": [[2, 4]]},
            "datatype": {"enum": ["INT32"]},
            "data": data,
        },
    }


def of_one_model(document: dict, folder: Path) -> Path:
    """Write the document with the inputs of `flowers` in place of any: each valid request must be answered."""
    outputs = [{"const": {"name": name}} for name in OUTPUTS]
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "inputs": {"type": "array", "items": flowers_tensor(), "minItems": 1, "maxItems": 1},
            "outputs": {"type": ["array", "null"], "items": {"anyOf": outputs}, "uniqueItems": True},
        },
    }
    document["components"]["schemas"]["InferenceRequest"] = request
    document["components"]["parameters"]["model"]["schema"] = {"enum": ["flowers"]}
    document["components"]["parameters"]["version"]["schema"] = {"enum": ["1.0.0"]}
    infer = {path: item for path, item in document["paths"].items() if path.endswith("/infer")}
    for item in infer.values():
        item["post"]["parameters"] = []
    path = folder / "flowers.json"
    path.write_text(json.dumps({**document, "paths": infer}))
    return path


def run(document: Path, folder: Path, address: str, key: str, *more: str) -> None:
    """Run schemathesis, which keeps a cache in `folder`, its working directory."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", f"http://{address}",
        "--header", f"Authorization: Bearer {key}", "--phases", "coverage,fuzzing", "--max-examples", "10",
        "--request-timeout", "120", "--seed", "1", "--continue-on-failure", "--suppress-health-check", "all", *more,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
