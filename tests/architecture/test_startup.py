"""The command line answers at once because nothing heavy is loaded before a command runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "mlflow",
    "airflow",
    "feast",
    "evidently",
    "great_expectations",
    "dvc",
    "pandas",
    "bentoml",
    "optuna",
    "sqlalchemy",
}


def loaded_by(statement: str) -> set[str]:
    script = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_loads_no_heavy_module():
    assert not HEAVY & loaded_by("from perennial.cli import main; main(['--help'])")


def test_every_command_can_show_its_help_without_heavy_modules():
    from perennial.cli import COMMANDS

    calls = "; ".join(f"main(['{name}', '--help'])" for name in COMMANDS)
    assert not HEAVY & loaded_by(f"from perennial.cli import main; {calls}")


def test_a_rollback_imports_nothing_slow_before_the_traffic_has_moved():
    """Each of these takes a tenth of a second or more, and the whole way has one second."""
    loaded = loaded_by(
        "import perennial.cli, perennial.commands.release; from perennial.wiring import traffic; "
        "ports = traffic.rollback_ports(); ports.router.route('m'); ports.recent('m', 1); ports.published('s')"
    )
    assert not (HEAVY | {"httpx", "numpy", "pydantic_settings", "rich", "yaml", "onnxruntime"}) & loaded


HEADERS = "from mlflow.tracking.request_header.registry import resolve_request_headers as r; r()"


@pytest.mark.parametrize(
    ("statement", "unused"),
    [
        ("import perennial.commands.release, perennial.flows.monitoring.watch; from perennial.wiring import releasing",
         {"scipy.stats", "scipy.optimize", "pandas", "sklearn"}),
        (f"import perennial.adapters.mlflow.registry; {HEADERS}", {"feast", "torch", "sklearn", "sqlalchemy"}),
        ("from perennial import settings; from perennial.wiring import training; "
         "training.features(settings.load())", {"feast", "torch", "pandas"}),
        ("import perennial.adapters.gx_validator", {"rfc3987_syntax", "torch", "mlflow"}),
        ("import perennial.adapters.documents.cyclonedx_bom", {"rfc3987_syntax", "mlflow"}),
        ("import sklearn.base; from perennial.adapters.mlflow import flavours; flavours.import_skops()",
         {"torch", "dask", "feast"}),
    ],
    ids=["release", "mlflow", "features", "validator", "bom", "skops"],
)  # fmt: skip
def test_a_step_does_not_load_what_its_libraries_merely_offer(statement, unused):
    """Each of these takes a second or more of every step of a training or release."""
    assert not unused & loaded_by(statement)


def test_a_late_grammar_still_checks_international_addresses():
    loaded = loaded_by(
        "import perennial.adapters.json_schema; from jsonschema import Draft7Validator as D; "
        "assert D.FORMAT_CHECKER.conforms('https://a.b/ü', 'iri-reference'); "
        "assert not D.FORMAT_CHECKER.conforms('https://[a b', 'iri-reference')"
    )
    assert "rfc3987_syntax" in loaded


def test_help_names_every_command():
    from perennial.cli import COMMANDS

    done = subprocess.run(
        [sys.executable, "-m", "perennial", "--help"], capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("line", "code"), [(["nonsense"], 2), (["models", "show", "no_such_model"], 31), (["--version"], 0)]
)
def test_exit_codes(line, code):
    done = subprocess.run(
        [sys.executable, "-m", "perennial", *line], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
