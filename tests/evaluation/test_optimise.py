"""Variants of a version: which are made, what they must show, which are registered, and which is proposed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from doubles.attribution import one_path
from doubles.pictures import NoPictures
from rate_model import RateModel
from signing import KEY
from training_world import PROVENANCE, SPEC, TrainingWorld

from perennial.adapters.torch_elastic.group import together
from perennial.adapters.variants.tensorrt import tensorrt
from perennial.core.gate_spec import Bound, VariantsSpec
from perennial.core.training.imported import FILE_TAG
from perennial.core.training.variants import VARIANT_OF, NotMade, Recipe
from perennial.errors import NotOptimisable, NotReproducible, SpecError, TrackerUnavailable
from perennial.flows.evaluation.optimise import optimise
from perennial.flows.evaluation.parent_version import VariantPorts
from perennial.flows.training.reproduce import refuse_imported
from perennial.serving.signed_files import read_signed


def with_gate(**changed):
    return SPEC.model_copy(update={"gate": SPEC.gate.model_copy(update=changed)})


VARIED = with_gate(variants=VariantsSpec(agreement=0.9, quality_drop=0.02), metrics={"brier": Bound(max=1.0)})
TIMES = {"quick": 0.5, "quicker": 0.25, "slow": 2.0, "wrong": 0.1}
"""Recipe -> time of a call, by that of the parent."""


def marked(name: str, slope: float = 1.0):
    """A recipe that writes its name into the file, and multiplies the slope of the rate model."""

    def convert(parent, rows, path):
        model = onnx.load(str(parent))
        model.doc_string = name
        for tensor in model.graph.initializer:
            if tensor.name == "slope":
                tensor.float_data[:] = [tensor.float_data[0] * slope]
        onnx.save(model, str(path))

    return Recipe(name, {"slope": slope}, convert=convert)


def stopwatch(parent, variant, rows, provider):
    jitter = 1e-3 * (1 + 0.01 * np.sin(np.arange(50)))
    return jitter, jitter[::-1] * TIMES.get(onnx.load(str(variant)).doc_string, 1.0)


class World:
    def __init__(self, folder) -> None:
        self.training = TrainingWorld(folder)
        self.training.release()
        self.registry = self.training.registry
        self.lines: list[str] = []

    def optimise(self, *recipes, which="1.0.0", spec=VARIED, **changed):
        given = {
            "registry": self.registry, "tracker": self.training.tracker, "data": self.training.data,
            "features": self.training.features, "scorer_on": lambda provider: self.training.scorer, "signer": KEY,
            "together": together,
            "figures": NoPictures(), "explain": one_path, "checks": lambda spec, files: (),
            "stopwatch": stopwatch, "build": RateModel, "provenance": PROVENANCE,
        }  # fmt: skip
        ports = VariantPorts(**{**given, **changed})
        return optimise(spec, which, recipes, ports, self.registry, "ann", self.lines.append)

    def candidate(self):
        return self.registry.find(SPEC.name, "candidate").ref.version

    def numbers(self):
        return [record.ref.version for record in self.registry.versions(SPEC.name)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return World(tmp_path_factory.mktemp("variants"))


@pytest.fixture
def world(trained, monkeypatch):
    """The trained version alone, whatever the test before has registered."""
    registry = trained.registry
    monkeypatch.setattr(registry, "_versions", {SPEC.name: registry._versions[SPEC.name][:1]})
    monkeypatch.setattr(
        registry, "_aliases", dict.fromkeys([(SPEC.name, "champion"), (SPEC.name, "candidate")], "1")
    )
    trained.lines.clear()
    return trained


def test_what_passes_is_a_patch_version_and_the_fastest_is_the_candidate(world, tmp_path):
    parent, outcomes, proposed = world.optimise(marked("slow"), marked("quick"), marked("quicker"))
    assert [outcome.version.version for outcome in outcomes] == ["1.0.1", "1.0.2", "1.0.3"]
    assert (proposed.version, world.candidate()) == ("1.0.3", "1.0.3")
    figures = outcomes[2].figures
    assert figures.is_faster
    assert not outcomes[0].figures.is_faster
    assert figures.latency[64].value == pytest.approx(0.25)
    record = world.registry.find(SPEC.name, "1.0.3")
    assert record.tags[VARIANT_OF] == parent.ref.digest
    assert record.tags["requested_by"] == "ann"
    assert record.tags["reason.text"] == "quicker of 1.0.0"
    assert record.tags["architecture"] == parent.tags["architecture"], (
        "no new architecture, so no high risk for it"
    )
    assert record.metrics["variant.agreement.low"] > 0.9
    files = world.registry.fetch(record.ref, tmp_path)
    assert {"model.onnx", "manifest.json", "reference.parquet"} <= {path.name for path in files.iterdir()}


def test_a_variant_that_answers_otherwise_is_reported_and_not_registered(world):
    _, (wrong,), proposed = world.optimise(marked("wrong", slope=0.0))
    assert wrong.version is None
    assert any(failure.startswith("quality: ") for failure in wrong.failures), wrong.failures
    assert (proposed, world.numbers(), world.candidate()) == (None, ["1.0.0"], "1.0.0")


def test_nothing_is_proposed_where_nothing_is_faster(world):
    _, (slow,), proposed = world.optimise(marked("slow"))
    assert slow.version.version == "1.0.1"
    assert (proposed, world.candidate()) == (None, "1.0.0")


@pytest.mark.parametrize(
    ("edited", "version"),
    [
        ({"monitoring": SPEC.monitoring.model_copy(update={"window": 7})}, "1.0.1"),
        ({"description": "other words", "approval": SPEC.approval.model_copy(update={"high_risk": 3})}, "1.0.1"),
        ({"tuning": SPEC.tuning.model_copy(update={"trials": 99})}, "1.0.1"),
        ({"gate": VARIED.gate.model_copy(update={"variants": VariantsSpec(agreement=0.8, quality_drop=0.1)})}, "1.0.2"),
        ({"evaluation": SPEC.evaluation.model_copy(update={"bootstrap": 33})}, "1.0.2"),
    ],
)  # fmt: skip
def test_a_variant_is_made_again_where_the_spec_changes_what_it_depends_on(world, edited, version):
    world.optimise(marked("quick"))
    _, (again,), _ = world.optimise(marked("quick"), spec=VARIED.model_copy(update=edited))
    assert again.version.version == version


def test_too_few_rows_prove_no_agreement(world):
    strict = with_gate(
        variants=VariantsSpec(agreement=0.99999, quality_drop=0.1), metrics=VARIED.gate.metrics
    )
    _, (same,), _ = world.optimise(marked("quick"), spec=strict)
    assert same.figures.agreement.value == 1.0
    assert [failure.partition(":")[0] for failure in same.failures] == ["agreement"]


def test_a_later_training_keeps_the_alias_of_the_candidate(world):
    first = world.registry._versions[SPEC.name][0]
    later = first.model_copy(
        update={"ref": first.ref.model_copy(update={"version": "1.1.0", "key": "2"}), "run_id": "x"}
    )
    world.registry._versions[SPEC.name] = [first, later]
    world.registry.alias(SPEC.name, "candidate", "2")
    _, (quick,), proposed = world.optimise(marked("quick"))
    assert quick.version.version == "1.0.1", "a patch of its parent, not of the newest version"
    assert (proposed, world.candidate()) == (None, "1.1.0")


def test_after_a_kill_the_same_call_ends_as_if_there_was_none(world, monkeypatch):
    recipes = marked("slow"), marked("quick")
    register, calls = world.registry.register, []

    def killed_at_the_second(new):
        calls.append(new)
        if len(calls) == 2:
            raise TrackerUnavailable("killed", hint="")
        return register(new)

    with monkeypatch.context() as patch:
        patch.setattr(world.registry, "register", killed_at_the_second)
        with pytest.raises(TrackerUnavailable):
            world.optimise(*recipes)
    assert world.numbers()[-1] == "1.0.1"
    _, outcomes, proposed = world.optimise(*recipes)
    assert [outcome.version.version for outcome in outcomes] == ["1.0.1", "1.0.2"]
    assert proposed.version == "1.0.2"
    assert f"1/2 slow: made before as {outcomes[0].version}" in world.lines
    runs = len(world.training.tracker.runs)
    _, again, proposed_again = world.optimise(*recipes)
    assert [outcome.figures for outcome in again] == [outcome.figures for outcome in outcomes]
    assert (proposed_again, len(world.training.tracker.runs)) == (proposed, runs), (
        "nothing is made a second time"
    )


def test_another_setting_of_a_recipe_is_another_version(world):
    world.optimise(marked("quick"))
    _, (other,), _ = world.optimise(marked("quick", slope=1.0000001))
    assert other.version.version == "1.0.2"


def test_a_recipe_that_makes_nothing_says_why_and_stops_no_other(world):
    def convert(parent, rows, path):
        raise NotMade("trees have no matrices")

    _, outcomes, proposed = world.optimise(Recipe("int8", {}, convert=convert), marked("quick"))
    assert outcomes[0].words == "not made: trees have no matrices"
    assert proposed == outcomes[1].version


def test_tensorrt_is_not_made_without_a_gpu(world, tmp_path):
    _, (outcome,), _ = world.optimise(tensorrt(tmp_path))
    assert outcome.version is None
    assert "'tensorrt' is not here" in outcome.not_made
    assert "install onnxruntime-gpu" in outcome.not_made


def test_a_learnt_variant_starts_from_the_parent_trained_again(world):
    taught = []

    def learn(parent, rows, epochs):
        taught.append((parent.predict(rows.learn.features), len(rows.training), epochs))
        return parent

    _, (outcome,), _ = world.optimise(Recipe("distilled", {}, learn=learn))
    assert outcome.version.version == "1.0.1"
    ((answers, rows, epochs),) = taught
    assert len(answers) < rows
    assert epochs == 2

    class Otherwise(RateModel):
        def predict(self, features):
            return super().predict(features) * np.float32(0.5)

    _, (outcome,), _ = world.optimise(Recipe("pruned", {}, learn=learn), build=Otherwise)
    assert "the parent, trained again from its capsule, is another" in outcome.not_made


def test_what_has_no_variants_is_refused_before_anything(world):
    with pytest.raises(SpecError, match=r"gate\.variants is missing"):
        world.optimise(marked("quick"), spec=SPEC)
    world.optimise(marked("quick"))
    with pytest.raises(NotOptimisable, match="is itself a variant"):
        world.optimise(marked("quick"), which="1.0.1")
    with pytest.raises(NotReproducible, match="is a variant"):
        refuse_imported(world.registry.find(SPEC.name, "1.0.1"))
    world.registry.tag(SPEC.name, "1", {FILE_TAG: "f" * 64})
    with pytest.raises(NotOptimisable, match="is imported"):
        world.optimise(marked("quick"))
    assert world.numbers() == ["1.0.0", "1.0.1"]


def test_the_files_of_a_variant_are_signed(world, tmp_path):
    from signing import TRUSTED

    _, (quick,), _ = world.optimise(marked("quick"))
    files = world.registry.fetch(quick.version, tmp_path / "files")
    assert "model.onnx" in read_signed(files, SPEC.name, quick.version.digest, TRUSTED)


def test_the_table_says_what_passed_what_failed_and_why(world, capsys):
    from perennial.commands.training.optimise import _show

    parent, outcomes, proposed = world.optimise(marked("quick"), marked("wrong", slope=0.0))
    _show(VARIED, parent, outcomes, proposed)
    shown = capsys.readouterr().out
    assert "0.50 [0.50, 0.50]" in shown
    assert "wrong: failed: " in shown
    assert f"candidate {proposed} (key {proposed.key}): the fastest that passed" in shown
    _show(VARIED, parent, outcomes[1:], None)
    assert (
        "no variant that passed is proven faster than 1.0.0: nothing is proposed" in capsys.readouterr().out
    )
