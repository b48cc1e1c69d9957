"""Train again from the capsule: what is found, what is written down, and what stays untouched."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from doubles.data import MemoryData
from doubles.releases import MemoryStore
from rate_model import RateModel
from training_world import PROVENANCE, SPEC, TrainingWorld

from perennial import catalog
from perennial.adapters.torch_elastic.group import together
from perennial.cli import main
from perennial.core.events import Event
from perennial.core.training.capsule import Capsule
from perennial.core.training.reproduction import ReproductionOutcome
from perennial.errors import DatasetMissing, ModelFileError, OtherCode, UnknownVersion
from perennial.flows.training.register import register
from perennial.flows.training.reproduce import ReproducePorts, reproduce

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Near(RateModel):
    """Another file with all but the same answers."""

    def export(self, path):
        self.parameters["slope"] *= 1 + 1e-6
        super().export(path)


class Far(RateModel):
    def export(self, path):
        self.parameters["slope"] = 0.0
        super().export(path)


@pytest.fixture(scope="module")
def trained_world(tmp_path_factory):
    made = TrainingWorld(tmp_path_factory.mktemp("training"))
    made.release()
    return made


@pytest.fixture
def ports(trained_world):
    return ReproducePorts(
        registry=trained_world.registry,
        labels=trained_world.registry,
        ledger=MemoryStore().ledger,
        tracker=trained_world.tracker,
        data=trained_world.data,
        features=trained_world.features,
        scorer=trained_world.scorer,
        together=together,
        changed=lambda commit: [],
    )


def again(ports, aside, build=RateModel, any_code=False, which="1.0.0"):
    return reproduce(
        SPEC, which, ports, build, PROVENANCE, any_code, aside, "ann", lambda: NOW, lambda line: None
    )


def changed(ports, **update):
    return ReproducePorts(**{**vars(ports), **update})


def test_same_capsule_same_digest_and_nothing_else_is_touched(trained_world, ports, tmp_path):
    before = [(one.ref, one.aliases) for one in trained_world.registry.versions(SPEC.name)]
    runs = set(trained_world.tracker.runs)
    RateModel.fits = 0
    found = again(ports, tmp_path)
    assert (found.outcome, found.again) == (ReproductionOutcome.SAME, found.model)
    assert found.score_difference == 0
    assert RateModel.fits == 1
    assert [(one.ref, one.aliases) for one in trained_world.registry.versions(SPEC.name)] == before
    assert set(trained_world.tracker.runs) == runs


def test_outcome_is_in_the_ledger_and_on_the_version(trained_world, ports, tmp_path):
    found = again(ports, tmp_path, which="champion")
    (row,) = ports.ledger.rows(SPEC.name, kinds=(Event.VERSION_REPRODUCED,))
    assert (row.entry.actor, row.entry.digest) == ("ann", found.digest)
    assert row.entry.payload["verdict"] == "same digest"
    tag = trained_world.registry.find(SPEC.name, "1.0.0").tags["reproduction"]
    assert tag.startswith("same digest")
    assert tag.endswith("by ann")


def test_another_file_is_judged_by_its_metrics(ports, tmp_path):
    near = again(ports, tmp_path / "near", Near)
    assert near.outcome is ReproductionOutcome.WITHIN
    assert 0 < near.score_difference < 1e-5
    far = again(ports, tmp_path / "far", Far)
    assert far.outcome is ReproductionOutcome.DIFFERS
    assert ports.ledger.rows(SPEC.name)[-1].entry.payload["verdict"] == "not reproduced"


def test_other_code_is_refused_unless_asked_for(ports, tmp_path):
    other = changed(ports, changed=lambda commit: ["src/perennial/models/base.py"])
    with pytest.raises(OtherCode, match=r"base\.py"):
        again(other, tmp_path)
    assert not ports.ledger.rows(SPEC.name)
    found = again(other, tmp_path, any_code=True)
    assert found.outcome is ReproductionOutcome.SAME
    assert "base.py" in found.differences[0]


def test_capsule_that_was_changed_is_not_believed(trained_world, ports, tmp_path):
    class Forged:
        def files(self, run_id, folder, into):
            paths = trained_world.tracker.files(run_id, folder, into)
            capsule = Capsule.model_validate_json((into / "capsule.json").read_bytes())
            forged = capsule.model_copy(update={"parameters": {"slope": 0.1}})
            (into / "capsule.json").write_text(forged.model_dump_json())
            return paths

    with pytest.raises(ModelFileError, match="the version names"):
        again(changed(ports, tracker=Forged()), tmp_path)


def test_run_without_a_capsule(ports, tmp_path):
    class Lost:
        def files(self, run_id, folder, into):
            return []

    with pytest.raises(ModelFileError, match="capsule"):
        again(changed(ports, tracker=Lost()), tmp_path)


def test_data_or_version_that_is_gone(ports, tmp_path):
    with pytest.raises(DatasetMissing):
        again(changed(ports, data=MemoryData()), tmp_path)
    with pytest.raises(UnknownVersion):
        again(ports, tmp_path, which="9.9.9")


@pytest.mark.parametrize(("build", "code"), [(RateModel, 0), (Far, 38)])
def test_command(build, code, ports, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setattr(catalog, "spec", lambda name, settings: SPEC)
    monkeypatch.setattr("perennial.wiring.training_steps.reproduce_ports", lambda spec, settings: ports)
    monkeypatch.setattr("perennial.wiring.training.build", lambda spec: build)
    monkeypatch.setattr("perennial.wiring.training.provenance", lambda spec, settings: PROVENANCE)
    assert main(["reproduce", SPEC.name, "1.0.0", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["outcome"] == ("same digest" if code == 0 else "not reproduced")
    assert main(["reproduce", SPEC.name, "1.0.0"]) == code
    assert "roc_auc" in capsys.readouterr().out


@pytest.mark.deep
def test_the_number_of_workers_is_part_of_what_reproduces(ports, tmp_path):
    """Also where the spec names another number since: that of the capsule counts."""
    from perennial.models.test_failure_predictor import TestFailurePredictor

    spec = SPEC.model_copy(update={"training": SPEC.training.model_copy(update={"workers": 2})})
    world = TrainingWorld(tmp_path, spec)
    world.prepare()
    trained = world.train(TestFailurePredictor)
    world.evaluate()
    register(spec, world.work, world.registry, "ann")
    capsule = Capsule.model_validate_json(world.tracker.runs[trained.run_id].artifacts["capsule.json"])
    assert capsule.parameters["workers"] == 2
    world_ports = changed(
        ports,
        registry=world.registry,
        labels=world.registry,
        tracker=world.tracker,
        data=world.data,
        features=world.features,
    )
    with pytest.raises(OtherCode, match="spec"):
        again(world_ports, tmp_path / "one", TestFailurePredictor)
    repeated = again(world_ports, tmp_path / "again", TestFailurePredictor, any_code=True)
    assert repeated.outcome is ReproductionOutcome.SAME
