"""Finished models of other people become candidates that claim nothing about their training, and are served."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from doubles.attribution import one_path
from doubles.pictures import NoPictures
from doubles.registry import MemoryRegistry
from doubles.tracking import MemoryTracker
from foreign.pipelines import progression, sales, wine
from one_server import Server
from signing import KEY
from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score

from perennial import catalog, model_probe
from perennial.adapters.documents.cyclonedx_bom import to_json
from perennial.adapters.documents.figures import TrainingFigures
from perennial.adapters.importing.served_form import served_form
from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.cli import main
from perennial.core.evaluation.checks import hostile_rows
from perennial.core.governance.bom import Package, make_bom
from perennial.core.governance.card import make_card
from perennial.core.governance.card_figures import CardEvidence
from perennial.core.release import gate
from perennial.core.release.approval import Risk
from perennial.core.training import reproduction
from perennial.core.training.imported import FILE_TAG, NOT_KNOWN, TRAINED_TAG
from perennial.core.verdict import Verdict
from perennial.flows.evaluation.import_model import ImportPorts
from perennial.flows.governance import documents
from perennial.flows.governance.licensing import TermsPorts, check_terms
from perennial.flows.training.package import kept_capsule
from perennial.settings import Settings
from perennial.wiring import importing

ROOT = Path(__file__).resolve().parents[2]
TRAINED = "in the lab in Turin, by the wine team"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class ImportWorld:
    """A project folder without models of its own, and every port of an import."""

    folder: Path
    tracker: MemoryTracker = field(default_factory=MemoryTracker)

    def __post_init__(self) -> None:
        self.registry = MemoryRegistry(self.tracker)
        self.settings = Settings(project=self.folder / "project", home=self.folder / "state")
        shutil.copytree(ROOT / "configs", self.settings.configs)
        self.ports = ImportPorts(
            self.registry,
            self.tracker,
            OnnxScorer(),
            KEY,
            NoPictures(),
            one_path,
            served_form,
        )

    def take(self, name: str, file: Path | str, holdout: Path, *options: str) -> int:
        line = ["models", "import", name, str(file), "--data", str(holdout), "--trained", TRAINED, "--yes"]
        return main([*line, *options])

    def record(self, name: str):
        return self.registry.find(name, "candidate")

    def files(self, name: str) -> Path:
        ref = self.record(name).ref
        return self.registry.fetch(ref, self.folder / ref.digest)

    def ask(self, name: str, rows: pd.DataFrame) -> list[dict]:
        server = Server(self.folder / "serving")
        server.hold((self.record(name).ref, self.files(name)))
        body = {"rows": json.loads(rows.to_json(orient="records"))}
        answer = server.client.post(f"/v1/models/{name}/predict", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["predictions"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = ImportWorld(tmp_path)
    monkeypatch.setenv("PERENNIAL_PROJECT", str(made.settings.project))
    monkeypatch.setenv("PERENNIAL_HOME", str(made.settings.home))
    monkeypatch.setattr(importing, "import_ports", lambda settings: made.ports)
    # The trial of foreign files in a child takes seconds; tests/security/test_import_attacks.py has it.
    monkeypatch.setattr(model_probe, "model_problem", lambda model: "")
    monkeypatch.setattr(documents, "document_version", lambda *_: None)
    return made


def test_classes_are_told_apart_by_the_labels_of_the_model(world, tmp_path):
    given = wine(tmp_path)
    assert world.take("wine", given.onnx(tmp_path / "wine.onnx"), given.holdout, "--target", "target") == 0
    record = world.record("wine")
    truth = pd.read_csv(given.holdout)["target"]
    expected = log_loss(truth, given.model.predict_proba(given.rows), labels=given.model.classes_)
    assert record.metrics["holdout.log_loss"] == pytest.approx(expected, abs=1e-4)
    assert record.metrics["parity.max_abs"] < 1e-5
    first = world.ask("wine", given.rows[:3])
    assert [one["class"] for one in first] == given.model.predict(given.rows[:3]).tolist()


def test_lineage_says_that_it_is_not_known(world, tmp_path):
    given = wine(tmp_path)
    world.take("wine", given.onnx(tmp_path / "wine.onnx"), given.holdout, "--target", "target")
    record = world.record("wine")
    unknown = ("code", "data.revision", "data.source", "data_checks", "features_hash")
    assert {record.tags[name] for name in unknown} == {NOT_KNOWN}
    assert record.tags[TRAINED_TAG] == TRAINED
    assert "holdout_from" not in record.tags
    capsule = kept_capsule(record, world.tracker)
    assert (capsule.code, capsule.data, capsule.constraints) == (NOT_KNOWN, {}, NOT_KNOWN)
    reference = pd.read_parquet(world.files("wine") / "reference.parquet")
    assert len(reference) == len(given.rows)


def test_card_and_bom_claim_nothing_about_the_training(world, tmp_path):
    given = wine(tmp_path)
    world.take("wine", given.onnx(tmp_path / "wine.onnx"), given.holdout, "--target", "target")
    spec, record = catalog.spec("wine", world.settings), world.record("wine")
    card = make_card(spec, record, CardEvidence(), None, (), NOW).markdown()
    assert f"Imported; trained: {TRAINED}, as its importer says" in card
    assert "Whether it learnt from them is not known" in card
    for claim in ("learnt from.", "trained because", "retrained from", "later than"):
        assert claim not in card
    capsule = kept_capsule(record, world.tracker)
    bom = make_bom(
        spec, record, capsule, {"model.onnx": "0" * 64}, [Package(name="torch", version="1")], None, NOW
    )
    text = to_json(bom)
    assert TRAINED in text
    assert "supervised" not in text
    assert "torch" not in text


def test_the_same_file_again_gives_the_same_version(world, tmp_path, capsys):
    given = wine(tmp_path)
    file = given.onnx(tmp_path / "wine.onnx")
    world.take("wine", file, given.holdout, "--target", "target")
    first, runs = world.record("wine"), len(world.tracker.runs)
    assert world.take("wine", file, given.holdout) == 0
    assert "imported before" in capsys.readouterr().out
    assert world.registry.versions("wine") == [first]
    assert len(world.tracker.runs) == runs


def test_a_second_file_is_compared_with_the_champion(world, tmp_path):
    given = wine(tmp_path)
    world.take("wine", given.onnx(tmp_path / "wine.onnx"), given.holdout, "--target", "target")
    champion = world.record("wine")
    world.registry.alias("wine", "champion", champion.ref.key)
    given.model[-1].coef_ *= 0.5
    assert world.take("wine", given.onnx(tmp_path / "other.onnx"), given.holdout) == 0
    record = world.record("wine")
    assert record.ref.version == "1.1.0"
    assert record.tags["champion.digest"] == champion.ref.digest
    assert record.metrics["delta.log_loss"] < 0


def test_texts_flags_and_numbers_are_inputs_of_their_own(world, tmp_path):
    given = sales(tmp_path)
    assert world.take("sales", given.onnx(tmp_path / "sales.onnx"), given.holdout, "--target", "target") == 0
    truth = pd.read_csv(given.holdout)["target"] == "yes"
    expected = given.model.predict_proba(given.rows)[:, 1]
    assert world.record("sales").metrics["holdout.roc_auc"] == pytest.approx(roc_auc_score(truth, expected))
    inputs = catalog.spec("sales", world.settings).features.inputs
    assert inputs["colour"].categories == ("blue", "green", "red")
    answers = world.ask("sales", given.rows[:5])
    assert [one["score"] for one in answers] == pytest.approx(expected[:5].tolist(), abs=1e-5)


@pytest.mark.parametrize("months", [("2024-01", "2024-02"), ("Jan 2024", "Feb 2024")])
def test_a_category_may_look_like_a_month(world, tmp_path, months):
    given = sales(tmp_path, colours=months)
    assert world.take("sales", given.onnx(tmp_path / "sales.onnx"), given.holdout, "--target", "target") == 0
    inputs = catalog.spec("sales", world.settings).features.inputs
    assert inputs["colour"].categories == tuple(sorted(months))


def test_a_value_in_its_unit(world, tmp_path):
    given = progression(tmp_path)
    file = given.onnx(tmp_path / "model.onnx")
    assert world.take("progression", file, given.holdout, "--target", "target", "--unit", "points") == 0
    expected = mean_absolute_error(pd.read_csv(given.holdout)["target"], given.model.predict(given.rows))
    measured = world.record("progression").metrics["holdout.mae"]
    assert measured == pytest.approx(expected, rel=0.05)  # some rows calibrate the interval


def test_a_matrix_takes_its_columns_in_the_named_order(world, tmp_path):
    given = progression(tmp_path)
    turned = given.rows[given.rows.columns[::-1]].assign(more=np.arange(len(given.rows)) % 7)
    turned.assign(target=pd.read_csv(given.holdout)["target"]).to_csv(given.holdout, index=False)
    file = given.onnx(tmp_path / "model.onnx")
    assert world.take("progression", file, given.holdout, "--target", "target") == 34, "11 columns, 10 inputs"
    assert not (world.settings.configs / "models" / "progression.yaml").exists()
    order = ",".join(given.rows.columns)
    assert world.take("progression", file, given.holdout, "--target", "target", "--inputs", order) == 0
    assert world.record("progression").metrics["holdout.r2"] > 0.3


@pytest.mark.slow
def test_a_skops_pipeline_with_an_encoder(world, tmp_path):
    given = sales(tmp_path)
    assert (
        world.take("sales", given.skops(tmp_path / "sales.skops"), given.holdout, "--target", "target") == 0
    )
    record = world.record("sales")
    assert record.tags["architecture"] == "imported/LogisticRegression"
    assert record.metrics["parity.max_abs"] < 1e-5
    expected = given.model.predict_proba(given.rows)[:5, 1].tolist()
    assert [one["score"] for one in world.ask("sales", given.rows[:5])] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_the_weights_of_a_table_network(world, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    from perennial.core.tasks import Multiclass
    from perennial.core.training.examples import Examples
    from perennial.models.templates.table_network import TableNetwork

    given = wine(tmp_path)
    frame, truth = given.rows, pd.read_csv(given.holdout)["target"]
    classes = ("barbera", "barolo", "grignolino")
    parameters = {
        "width": 16,
        "layers": 2,
        "bins": 4,
        "dropout": 0.1,
        "learning_rate": 0.01,
        "weight_decay": 0.01,
    }
    model = TableNetwork(tuple(frame.columns), parameters, 1, Multiclass(classes=classes))
    rows = Examples(
        frame.to_numpy(dtype=np.float32),
        np.array([classes.index(label) for label in truth], dtype=np.float32),
        np.arange(len(frame)),
    )
    model.fit(rows, None, 10, lambda *_: None)
    safetensors.save_file(model.fitted().state_dict(), tmp_path / "wine.safetensors")
    assert world.take("wine", tmp_path / "wine.safetensors", given.holdout, "--target", "target") == 0
    expected = log_loss(truth, model.predict(rows.features), labels=list(classes))
    assert world.record("wine").metrics["holdout.log_loss"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_a_model_that_was_logged_in_mlflow(world, tmp_path, monkeypatch):
    import mlflow
    import onnx

    monkeypatch.setenv("PERENNIAL_TRACKING_URL", url := f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_tracking_uri(url)
    world.ports = replace(world.ports, figures=TrainingFigures())
    given = wine(tmp_path)
    model = onnx.load(given.onnx(tmp_path / "wine.onnx", zipmap=False))
    experiment = mlflow.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment) as run:
        signature = mlflow.models.infer_signature(given.rows[:2])
        mlflow.onnx.log_model(model, name="m", signature=signature, registered_model_name="theirs")
        mlflow.sklearn.log_model(given.model, name="pickled", registered_model_name="pickled",
                                 serialization_format="cloudpickle")  # fmt: skip
    assert world.take("wine", "models:/theirs/1", given.holdout, "--target", "target") == 0
    assert world.record("wine").metrics["holdout.accuracy"] > 0.9
    assert world.take("again", "models:/pickled/1", given.holdout, "--target", "target") == 34
    assert world.take("again", "models:/nothing/1", given.holdout, "--target", "target") == 32
    assert world.take("again", f"runs:/{run.info.run_id}", given.holdout, "--target", "target") == 32, (
        "two models"
    )
    assert not world.registry.versions("again")


def test_the_gate_wants_people_and_says_what_it_cannot_judge(world, tmp_path):
    given = wine(tmp_path)
    world.take("wine", given.onnx(tmp_path / "wine.onnx"), given.holdout, "--target", "target")
    spec, record = catalog.spec("wine", world.settings), world.record("wine")
    terms = TermsPorts({}, lambda stated: {}, lambda licence, allowed: None)
    checks = (reproduction.unmeasurable(spec.gate.reproduction), *check_terms(spec, record, terms)[:2])
    for champion in (None, record):
        report = gate.judge(spec.gate, record, champion, [1.0], checks)
        assert report.risk is Risk.HIGH
        assert report.risk_reasons[0].startswith("imported")
        judged = {rule.rule: rule for rule in report.rules}
        for name in ("data_checks", "data_consent", "licence_data", "reproduction"):
            assert judged[name].verdict is Verdict.UNSURE
            assert "imported" in judged[name].observed
    required = spec.gate.reproduction.model_copy(update={"evidence": "required"})
    assert reproduction.unmeasurable(required).verdict is Verdict.ERROR


def test_nothing_trains_such_a_model(world, tmp_path, capsys):
    given = wine(tmp_path)
    world.take("wine", given.onnx(tmp_path / "wine.onnx"), given.holdout, "--target", "target")
    assert catalog.spec("wine", world.settings).entrypoint is None
    for line in (["run", "wine"], ["retrain", "wine", "--reason", "drift"]):
        assert main(line) == 10
        assert "nothing trains wine here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "options", "code", "said"),
    [
        (lambda f: f.drop(columns="alcohol"), (), 34, "takes 13 numbers, and there are 12 inputs"),
        (lambda f: f.assign(alcohol="strong"), (), 34, "13 numbers"),
        (lambda f: f, ("--classes", "barolo,barbera,merlot"), 34, "'merlot'"),
        (lambda f: f, ("--output", "label"), 34, "the output 'label' is not a probability for each class"),
        (lambda f: f.assign(target=f["target"].where(f.index != 3)), (), 20, "have no target"),
        (lambda f: f[f["target"] != "barolo"], (), 34, "no output of the model"),
        (lambda f: f[:10], (), 20, "10 rows"),
        (lambda f: f, ("--task", "regression"), 20, "no number"),
    ],
)
def test_a_holdout_that_does_not_fit_changes_nothing(world, tmp_path, capsys, change, options, code, said):
    given = wine(tmp_path)
    change(pd.read_csv(given.holdout)).to_csv(given.holdout, index=False)
    file = given.onnx(tmp_path / "wine.onnx")
    assert world.take("wine", file, given.holdout, "--target", "target", *options) == code
    assert said in capsys.readouterr().err
    assert not (world.settings.configs / "models" / "wine.yaml").exists()
    assert not world.tracker.runs
    assert FILE_TAG not in str(world.registry.versions("wine"))


def test_a_model_that_fails_on_extremes_is_served_with_bounds_and_keeps_its_answers(world, tmp_path, capsys):
    """A linear model answers infinity to infinity, and NaN to a missing value: the gate would refuse it."""
    given = progression(tmp_path)
    assert world.take("bounded", given.onnx(tmp_path / "m.onnx"), given.holdout, "--target", "target") == 0
    assert "numbers are cut at ten ranges" in capsys.readouterr().out
    assert world.record("bounded").metrics["parity.max_abs"] < 1e-4
    names = catalog.spec("bounded", world.settings).features.names
    rows = hostile_rows(np.zeros(len(names), dtype=np.float32))
    assert np.isfinite(OnnxScorer().score(world.files("bounded"), rows)).all()
