"""A process elsewhere takes trials of a training: with the data of the training, and only with its code and spec."""

from __future__ import annotations

import pytest
from doubles.shared_search import embedded
from optuna.study import StudyDirection
from rate_model import RateModel
from training_world import PROVENANCE, SPEC, TrainingWorld

from perennial.core.shared_search import SharedSearch
from perennial.errors import MalformedInput, OtherCode
from perennial.flows.training.join import JoinPorts, join_search

pytestmark = pytest.mark.slow
SHARED = SPEC.model_copy(update={"tuning": SPEC.tuning.model_copy(update={"shared": True})})


@pytest.fixture
def world(tmp_path):
    world = TrainingWorld(tmp_path, SHARED)
    world.tuner = embedded(tmp_path / "optuna")
    world.prepare()
    return world


def joining(world, folder, provenance=PROVENANCE, spec=SPEC):
    """Join as `perennial tune join` does, whose spec may name another budget; the training is in its first trial."""
    search = world.tuner.offered(spec.name)
    ports = JoinPorts(world.data, world.features, embedded(world.folder / "optuna"))
    lines: list[str] = []
    count = join_search(
        spec, search, ports, RateModel, RateModel.suggest, provenance, folder, 0, lines.append
    )
    return count, lines


def while_training(world, join):
    """Train, and call `join` in the first trial."""

    class Led(RateModel):
        called = False

        def fit(self, *given):
            if not Led.called:
                Led.called = True
                join()
            return super().fit(*given)

    return world.train(Led)


def test_trials_of_a_training_are_evaluated_elsewhere(world, tmp_path):
    joined = []
    trained = while_training(world, lambda: joined.append(joining(world, tmp_path / "elsewhere")))
    ((count, lines),) = joined
    assert (count, trained.trials) == (3, 4)
    assert any("roc_auc 0." in line for line in lines)
    runs = [run for run in world.tracker.runs.values() if run.parent == trained.run_id]
    assert len(runs) == 4, "the training alone writes to MLflow, each trial once"
    alone = TrainingWorld(tmp_path / "alone", SHARED)
    alone.tuner = embedded(tmp_path / "alone-optuna")
    alone.prepare()
    repeated = alone.train()
    assert (repeated.parameters, repeated.digest) == (trained.parameters, trained.digest)


def test_other_code_is_refused(world, tmp_path):
    other = PROVENANCE.model_copy(update={"model_code": "n" * 64})
    refused = []

    def join():
        with pytest.raises(OtherCode, match="of another spec, code of the model") as caught:
            joining(world, tmp_path / "elsewhere", other)
        refused.append(caught)

    assert while_training(world, join).trials == 4
    assert refused


def test_an_offer_that_names_files_elsewhere_is_refused(world):
    offer = {"study": "x-1", "holdout_from": 1, "tuning": SHARED.tuning.model_dump(mode="json")}
    for files in ({"../../etc/passwd": "0" * 32}, {"/etc/passwd": "0" * 32}, {"m/a": "../secret"}):
        with pytest.raises(ValueError, match="files"):
            SharedSearch.model_validate({**offer, "files": files})
    study = world.tuner._shared_storage().create_new_study(
        directions=[StudyDirection.MAXIMIZE], study_name=f"{SPEC.name}-1"
    )
    world.tuner._shared_storage().set_study_user_attr(
        study, "perennial.shared_search", {**offer, "files": files}
    )
    with pytest.raises(MalformedInput, match=f"study {SPEC.name}-1"):
        world.tuner.offered(SPEC.name)
