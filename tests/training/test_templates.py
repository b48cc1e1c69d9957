"""`perennial init --template` makes a model that goes the whole way to a served version, with torch and without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn import datasets

from perennial.core.release.gate import judge
from perennial.core.verdict import Verdict
from perennial.wiring import releasing, training

pytestmark = pytest.mark.slow
TABLES = {
    "binary": (datasets.load_breast_cancer, "roc_auc", 0.96),
    "multiclass": (datasets.load_wine, "accuracy", 0.9),
    "regression": (datasets.load_diabetes, "r2", 0.25),
}
PAIRS = [
    ("linear", "regression"),
    ("forest", "multiclass"),
    ("lightgbm", "binary"),
    ("xgboost", "regression"),
]


def made(table_world, template: str, kind: str):
    world = table_world(kind, TABLES[kind][0](as_frame=True).frame)
    assert world.init("target", "--template", template) == 0
    return world


@pytest.mark.parametrize(("template", "kind"), PAIRS)
def test_whole_way(table_world, template, kind):
    _, metric, least = TABLES[kind]
    world = made(table_world, template, kind)
    evaluation, ref = world.whole_way()
    assert evaluation.scores["model"][metric].value > least
    manifest = json.loads((world.work.model / "manifest.json").read_text())
    assert manifest["architecture"] == f"{template}/1"
    assert manifest["framework"] == ("sklearn" if template in ("linear", "forest") else template)
    assert manifest["explanation"]["coalitions"] == 200
    trained = json.loads((world.work.folder / "train.json").read_text())
    assert trained["parity_share"] <= world.spec.gate.parity.share
    record = world.registry.find(kind, ref.version)
    report = judge(world.spec.gate, record, None, [1.0], releasing.checks(world.spec, world.work.model))
    failed = {rule.rule: rule for rule in report.rules if rule.verdict not in (Verdict.PASS, Verdict.UNSURE)}
    assert not failed
    frame = TABLES[kind][0](as_frame=True).frame
    answer = world.ask(world.server(ref), frame.drop(columns="target").iloc[0].to_dict())
    assert answer.status_code == 200, answer.text


def test_a_model_of_random_targets_fails_its_gate(table_world):
    digits = datasets.load_digits(as_frame=True).frame
    frame = digits.iloc[:, 19:24].assign(target=np.random.default_rng(0).permutation(digits["target"] % 2))
    world = table_world("binary", frame)
    assert world.init("target", "--template", "lightgbm") == 0
    _, ref = world.whole_way()
    report = judge(world.spec.gate, world.registry.find("binary", ref.version), None, [1.0])
    verdicts = {rule.rule: rule.verdict for rule in report.rules}
    assert verdicts["roc_auc"] is Verdict.FAIL
    assert verdicts["parity"] is Verdict.PASS


def test_a_change_of_a_template_starts_another_search(table_world, monkeypatch):
    from perennial.adapters import checkout

    world = made(table_world, "lightgbm", "binary")
    training.model_class(world.spec)  # makes the modules of the project importable
    monkeypatch.setattr(checkout, "commit", lambda project: "c" * 40)
    project = Path(__file__).resolve().parents[2]
    before = checkout.provenance_of(project, project, world.spec).model_code
    read = checkout._read

    def changed(path):
        return read(path) + (b"\n# changed" if path.name == "table_pipeline.py" else b"")

    monkeypatch.setattr(checkout, "_read", changed)
    assert checkout.provenance_of(project, project, world.spec).model_code != before


def test_a_template_that_is_not_there_writes_nothing(table_world, capsys):
    world = table_world("wine", datasets.load_wine(as_frame=True).frame)
    assert world.init("target", "--template", "magic") == 2
    assert "templates: network, linear, forest, lightgbm, xgboost" in capsys.readouterr().err
    assert not world.spec_path.exists()


def test_a_model_may_have_the_name_of_its_template(table_world):
    world = table_world("forest", datasets.load_wine(as_frame=True).frame)
    assert world.init("target", "--template", "forest") == 0
    assert yaml.safe_load(world.spec_path.read_text())["entrypoint"] == "models.forest:Forest"
    assert training.model_class(world.spec).template == "forest"


BLOCKED = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnxscript"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
import pytest
code = pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[1]])
assert "torch" not in sys.modules
sys.exit(code)
"""


def test_a_forest_is_trained_registered_and_served_without_torch():
    test = f"{__file__}::test_whole_way[forest-multiclass]"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, test],
        env=env,
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "1 passed" in done.stdout
