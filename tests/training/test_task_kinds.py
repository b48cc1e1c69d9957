"""Each kind of task goes the whole way of a training: targets, search, package, evaluation, checks, drift, card."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from doubles.releases import MemoryStore
from rate_model import ClassNumbers, RateOf
from signing import signed
from training_world import HISTORY, PROVENANCE, SPEC, TrainingWorld, make

from perennial.adapters.documents.figures import TrainingFigures
from perennial.adapters.reference_models import references
from perennial.adapters.torch_elastic.group import together
from perennial.core.governance.card import make_card
from perennial.core.governance.card_figures import CardEvidence
from perennial.core.monitoring.drift import DECISION, JOINT, SCORE
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Binary, Multiclass, Ranking, Regression, Task
from perennial.core.training.attribution import GlobalAttributions
from perennial.core.training.registration import NewVersion
from perennial.core.training.reproduction import ReproductionOutcome
from perennial.core.verdict import Verdict
from perennial.core.version import Change
from perennial.errors import WrongAnswer, WrongTarget
from perennial.flows.evaluation.compare import compare_versions
from perennial.flows.evaluation.offline_features import OfflineSource
from perennial.flows.evaluation.replay import ReplayPorts, replay_requests
from perennial.flows.evaluation.score import score_history
from perennial.flows.monitoring.monitor import accuracy_known
from perennial.flows.training.package import version_features
from perennial.flows.training.point_in_time import as_examples
from perennial.flows.training.register import register
from perennial.flows.training.reproduce import ReproducePorts, reproduce
from perennial.flows.training.workdir import read_record, read_table
from perennial.wiring import releasing

pytestmark = pytest.mark.slow
NOW = datetime(2030, 1, 1, tzinfo=UTC)
KINDS = {
    "binary": (Binary(threshold=0.5, positive="often", negative="seldom"), "log_loss", {"max": 0.6}),
    "multiclass": (Multiclass(classes=("seldom", "often", "always")), "log_loss", {"max": 1.0}),
    "regression": (Regression(unit="%", tolerance=10.0), "r2", {"min": 0.3}),
}


def labelled(kind: str):
    """Return a prepare function whose examples have the target `outcome`, from how often each test fails."""

    def prepare(history: pd.DataFrame):
        prepared = make(history)
        examples = prepared.examples
        rate = examples.groupby("test_id")["failed"].transform("mean")
        values = {
            "binary": np.where(rate > 0.2, "often", "seldom"),
            "multiclass": np.select([rate > 0.3, rate > 0.1], ["always", "often"], "seldom"),
            "regression": 100 * rate,
        }
        return replace(prepared, examples=examples.assign(outcome=values[kind]))

    return prepare


def spec_of(task: Task, metric: str, bound: dict[str, float], improvement: str | None = None) -> ModelSpec:
    content = SPEC.model_dump()
    content["task"], content["target"] = task.model_dump(), {"column": "outcome"}
    content["gate"] |= {
        "metrics": {metric: bound},
        "improvement": {"metric": improvement or metric, "min_delta": -1.0},
        "reproduction": {"evidence": "optional", "tolerance": {metric: 0.01}},
        "behaviour": None,
    }
    content["evaluation"]["baselines"] = {}
    content["explanation"]["tolerance"] = 0.1
    return ModelSpec.model_validate(content)


@pytest.fixture(scope="module", params=KINDS)
def world(request, tmp_path_factory):
    made = TrainingWorld(tmp_path_factory.mktemp(request.param), spec_of(*KINDS[request.param]))
    made.prepare(make=labelled(request.param))
    made.train(RateOf)
    made.figures = TrainingFigures()
    made.evaluation = made.evaluate(references)
    made.ref = register(made.spec, made.work, made.registry, "ann")
    return made


def test_it_beats_the_baseline_and_passes_its_gate(world):
    metric, task = world.spec.gate.improvement.metric, world.spec.task
    figures = {name: scores[metric].value for name, scores in world.evaluation.scores.items()}
    baselines = set(task.baselines(np.zeros(2), 1))
    assert baselines < set(figures)
    assert len(figures) == len(baselines) + 3  # the model and two references
    assert all(task.gain(metric, figures["model"], figures[name]) > 0 for name in baselines)
    record = world.registry.find(world.spec.name, world.ref.version)
    assert record.tags["model.output"] == f"{task.output}: float32 {task.shape}, {task.kind}"
    bound = world.spec.gate.metrics[metric]
    assert (bound.min or -np.inf) <= record.metrics[f"holdout.{metric}"] <= (bound.max or np.inf)


def test_the_manifest_says_the_task_and_the_reference_has_answers(world):
    manifest = json.loads((world.work.model / "manifest.json").read_text())
    task = world.spec.task
    assert (manifest["format"], manifest["task"]) == (2, task.model_dump(mode="json"))
    assert "threshold" not in manifest
    assert version_features(world.spec, world.work.model).names == world.spec.features.names
    reference = read_table(world.work.model / "reference.parquet", "train")
    assert task.valid_summary(reference[SCORE].to_numpy()).all()
    share = "accuracy" if "accuracy" in task.metrics else "within_tolerance"
    expected = world.evaluation.scores["model"][share].value
    assert accuracy_known(world.spec, reference).value == pytest.approx(expected, abs=1e-6)


def test_the_checks_of_the_gate_understand_it(world):
    judged = {one.rule: one for one in releasing.checks(world.spec, world.work.model)}
    assert judged["safety"].verdict is Verdict.PASS
    assert judged["safety"].needed == f"{world.spec.task.valid} for every input"
    assert {judged[rule].verdict for rule in ("noise", "missing_values", "file_scan")} == {Verdict.PASS}
    assert judged["noise"].observed.startswith(world.spec.task.output)
    assert judged["fairness_history_length"].verdict is Verdict.PASS


def test_pictures_and_card_are_of_the_kind(world):
    pictures = {
        "binary": {"roc.png", "precision_recall.png", "calibration.png"},
        "multiclass": {"confusion.png"},
        "regression": {"predicted.png", "residuals.png"},
    }[world.spec.task.kind]
    drawn = {path.name for path in world.work.plots.glob("*.png")} - {"attributions.png"}
    assert drawn == pictures
    record = world.registry.find(world.spec.name, world.ref.version)
    moved = read_record(world.work.plots / "attributions.json", GlobalAttributions, "evaluate")
    evidence = CardEvidence(evaluation=world.evaluation, attributions=moved, pictures=frozenset(drawn))
    card = make_card(world.spec, record, evidence, None, (), NOW)
    (section,) = [part for part in card.sections if part.title == "Explanation"]
    assert section.tables[0].header[2:] == world.spec.task.explained_classes
    assert {row[0] for row in section.tables[0].rows} == set(world.spec.features.names)
    assert f"knowing it moves the {world.spec.task.explained}" in section.text[0]
    known = (f"Task: {world.spec.task.kind}", *world.spec.gate.metrics)
    assert all(name in card.model_dump_json() for name in known)


def test_a_version_is_scored_and_reproduced_on_the_history(world, request, tmp_path):
    prepare = labelled(request.node.callspec.params["world"])
    metric = world.spec.gate.improvement.metric
    scored, _ = score_history(
        world.spec,
        world.ref.version,
        HISTORY,
        None,
        prepare,
        world.features,
        world.registry,
        world.scorer,
        tmp_path,
    )
    assert scored.scores["model"][metric] == world.evaluation.scores["model"][metric]
    ports = ReproducePorts(
        world.registry, world.registry, MemoryStore().ledger, world.tracker, world.data, world.features,
        world.scorer, together, lambda commit: [],
    )  # fmt: skip
    again = reproduce(
        world.spec,
        world.ref.version,
        ports,
        RateOf,
        PROVENANCE,
        False,
        tmp_path / "again",
        "ann",
        lambda: NOW,
        print,
    )
    assert again.outcome is ReproductionOutcome.SAME


def second_version(world):
    """A version whose answers do not depend on the rows as much."""
    folder = world.folder / "second"
    shutil.copytree(world.work.model, folder)
    train = as_examples(world.spec, read_table(world.work.features, "train"))
    model = RateOf(world.spec.features.names, {"strength": 0.001}, 1, world.spec.task)
    model.fit(train, None, 1, None)
    model.slopes = model.slopes * 0.2
    model.export(folder / "model.onnx")
    run = world.tracker.run(world.spec.name, "training", {})
    digest = signed(folder, world.spec.name, "c" * 64)
    uri = run.model(folder, None, np.zeros((1, 3)), np.zeros(1))
    return world.registry.register(
        NewVersion(
            model=world.spec.name, run_id=run.run_id, model_uri=uri, digest=digest, capsule="c" * 64,
            change=Change.RETRAINED, description="flat",
        )
    )  # fmt: skip


def test_two_versions_are_compared_in_the_terms_of_the_kind(world, request, tmp_path):
    prepare = labelled(request.node.callspec.params["world"])
    other = second_version(world)
    found = compare_versions(
        world.spec, (world.ref.version, other.version), HISTORY, None, prepare, world.features, world.registry,
        world.scorer, tmp_path, 3,
    )  # fmt: skip
    assert found.gains[world.spec.gate.improvement.metric].high < 0
    assert 0 < found.decisions_changed <= found.rows
    assert len(found.disagreements) == 3

    examples = prepare(HISTORY).examples.tail(200).reset_index(drop=True)
    joined = world.features.join(world.spec.features, examples, prepare(HISTORY).views)
    values = joined[list(world.spec.features.names)].to_numpy(dtype=np.float32)
    answer, task = world.scorer.score(world.work.model, values), world.spec.task
    log = pd.DataFrame(
        {
            "request_id": [f"q{cycle}" for cycle in examples["cycle"]], "at": examples["event_timestamp"],
            "version": world.ref.version, "shadow": False, "entity": "{}", "context": "{}",
            "names": json.dumps(world.spec.features.names), "score": task.summary(answer).astype(float),
            "decision": task.decisions(answer), "task": task.model_dump_json(),
            **{f"feature:{name}": values[:, place] for place, name in enumerate(world.spec.features.names)},
        }
    )  # fmt: skip

    class Log:
        def read(self, model, since=None):
            return log

    offline = OfflineSource(world.features, lambda: HISTORY, prepare)
    for version, differs in ((world.ref.version, False), (other.version, True)):
        ports = ReplayPorts(Log(), world.registry, world.scorer, offline, lambda: 0.0)
        answers = replay_requests(
            world.spec, version, None, None, ports, tmp_path / f"replay-{version}"
        ).answers
        assert (answers.changed.value > 0, answers.unusable) == (differs, 0)


def test_drift_is_of_the_answer(world):
    from perennial.adapters.evidently_drift import EvidentlyDrift

    reference = read_table(world.work.model / "reference.parquet", "train")
    columns = world.spec.monitoring.model_copy(update={"columns": ("failure_rate",)})
    spec = world.spec.model_copy(update={"monitoring": columns})
    moved = reference.assign(**{SCORE: reference[SCORE].max(), DECISION: 0})
    drifts = {drift.column: drift for drift in EvidentlyDrift().compare(spec, reference, moved, None)}
    watched = {SCORE} if spec.task.one_number else {SCORE, DECISION}
    assert set(drifts) - {JOINT} == {"failure_rate", *watched}
    assert all(drifts[name].excess > spec.monitoring.psi.warn for name in watched)


def test_an_interval_is_calibrated_on_rows_that_nothing_learnt_from(tmp_path):
    task = Regression(unit="%", interval=0.8)
    world = TrainingWorld(tmp_path, spec_of(task, "coverage", {"min": 0.6}, improvement="mae"))
    world.prepare(make=labelled("regression"))
    world.train(RateOf)
    evaluation = world.evaluate(references)
    record = register(world.spec, world.work, world.registry, "ann")
    manifest = json.loads((world.work.model / "manifest.json").read_text())
    half_width = manifest["task"]["half_width"]
    figures = evaluation.scores["model"]
    assert figures["interval_width"].value == pytest.approx(2 * half_width)
    assert figures["coverage"].value > 0.6  # the history drifts after the calibration
    assert "coverage" not in evaluation.scores["mean"]
    reference = read_table(world.work.model / "reference.parquet", "train")
    known = accuracy_known(world.spec, reference).value
    assert known == pytest.approx(figures["coverage"].value, abs=1e-6)
    found = world.registry.find(world.spec.name, record.version)
    card = make_card(world.spec, found, CardEvidence(evaluation=evaluation), None, (), NOW).model_dump_json()
    assert "split-conformal 80% interval" in card
    assert "interval_width" in card
    ports = ReproducePorts(
        world.registry, world.registry, MemoryStore().ledger, world.tracker, world.data, world.features,
        world.scorer, together, lambda commit: [],
    )  # fmt: skip
    again = reproduce(
        world.spec, record.version, ports, RateOf, PROVENANCE, False, tmp_path / "again", "ann", lambda: NOW, print
    )  # fmt: skip
    assert again.outcome is ReproductionOutcome.SAME


def test_a_model_that_answers_class_numbers_is_never_packaged(tmp_path):
    world = TrainingWorld(tmp_path, spec_of(*KINDS["multiclass"]))
    world.prepare(make=labelled("multiclass"))
    with pytest.raises(WrongAnswer, match=r"shape \[\d+\], not \[\d+, 3\]"):
        world.train(ClassNumbers)
    assert not world.work.model.exists()


def test_a_target_outside_the_kind_stops_before_the_search(tmp_path):
    task = Multiclass(classes=("seldom", "often"))
    world = TrainingWorld(tmp_path, spec_of(task, "log_loss", {"max": 1.0}))
    world.prepare(make=labelled("multiclass"))
    with pytest.raises(WrongTarget, match="'always'"):
        world.train(RateOf)
    assert not world.tracker.runs
    as_ranking = TrainingWorld(tmp_path / "2", spec_of(Ranking(threshold=0.5), "roc_auc", {"min": 0.6}))
    as_ranking.prepare(make=labelled("regression"))
    with pytest.raises(WrongTarget, match="are not valid: row"):
        as_ranking.train(RateOf)
