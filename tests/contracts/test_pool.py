"""One suite for every Pool: the fake and the real model servers."""

from __future__ import annotations

import pytest
from doubles.routing import MemoryPool
from machines.attended import attended
from serving_stack import until
from signing import signed
from tiny_models import tensor_body, tiny_version

from perennial.core.serving_spec import Load
from perennial.errors import ModelFileError, PoolUnavailable
from perennial.wiring import machines, traffic


@pytest.fixture(
    params=[
        "memory",
        pytest.param("bento", marks=pytest.mark.traffic),
        pytest.param("machine", marks=pytest.mark.traffic),
    ]
)
def pool(request, tmp_path):
    if request.param == "memory":
        yield MemoryPool()
        return
    stack = request.getfixturevalue("serving_stack")
    if request.param == "bento":
        yield stack.pool
        return
    with attended(stack, tmp_path) as control:
        yield traffic.pool(control)


@pytest.fixture
def version(request, tmp_path):
    name = "pool_" + request.node.name.split("[")[0]
    return tiny_version(tmp_path, name, "1.0.0", bias=float(len(name)) / 100)


def loaded(pool, where, ref):
    until(lambda: pool.readiness(where, ref.model, ref.digest).complete, 30, f"{ref} in {where}")


@pytest.mark.parametrize("where", ["stable", "canary"])
def test_every_server_of_the_pool_loads_what_is_ensured(pool, version, where):
    ref, files = version
    pool.ensure(where, ref, files)
    loaded(pool, where, ref)
    readiness = pool.readiness(where, ref.model, ref.digest)
    assert readiness.ready == readiness.reachable == readiness.total == {"stable": 2, "canary": 1}[where]
    assert readiness.errors == ()


def test_ensure_and_drop_may_be_repeated(pool, version):
    ref, files = version
    for _ in range(2):
        pool.ensure("stable", ref, files)
    loaded(pool, "stable", ref)
    for _ in range(2):
        pool.drop("stable", ref.model, ref.digest)
    until(lambda: pool.readiness("stable", ref.model, ref.digest).ready == 0, 10, "let go")
    pool.ensure("stable", ref, files)
    loaded(pool, "stable", ref)


def test_a_version_on_demand_is_ready_and_is_pinned_again(pool, version):
    ref, files = version
    pool.ensure("stable", ref, files)
    loaded(pool, "stable", ref)
    for load in (Load.ON_DEMAND, Load.PINNED):
        for _ in range(2):
            pool.load_as(ref.model, load)
        loaded(pool, "stable", ref)
    pool.load_as("nobody", Load.ON_DEMAND)


def test_what_was_never_ensured_is_not_ready(pool, version):
    ref, _ = version
    readiness = pool.readiness("canary", ref.model, ref.digest)
    assert (readiness.ready, readiness.complete, readiness.reachable) == (0, False, readiness.total)


def test_measure_gives_one_latency_per_request(pool, version):
    ref, files = version
    pool.ensure("canary", ref, files)
    loaded(pool, "canary", ref)
    latencies = pool.measure("canary", ref.model, ref.digest, tensor_body(), 25)
    assert len(latencies) == 25
    assert all(0 < latency < 10_000 for latency in latencies)


def test_measure_of_what_is_not_loaded_is_refused(pool, version):
    ref, _ = version
    with pytest.raises(PoolUnavailable, match="has loaded"):
        pool.measure("stable", ref.model, ref.digest, tensor_body(), 1)


def test_an_unknown_pool_is_named(pool, version):
    ref, files = version
    for call in (
        lambda: pool.ensure("blue", ref, files),
        lambda: pool.drop("blue", ref.model, ref.digest),
        lambda: pool.readiness("blue", ref.model, ref.digest),
    ):
        with pytest.raises(PoolUnavailable, match="blue"):
            call()


@pytest.mark.traffic
def test_files_that_are_not_the_ones_meant_never_reach_a_server(serving_stack, tmp_path):
    ref, files = tiny_version(tmp_path, "pool_wrong_files", "1.0.0", bias=0.5)
    (files / "model.onnx").write_bytes((files / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(ModelFileError, match="digest"):
        serving_stack.pool.ensure("stable", ref, files)
    assert serving_stack.pool.readiness("stable", ref.model, ref.digest).ready == 0


@pytest.mark.traffic
def test_a_machine_says_that_the_files_it_got_are_not_the_signed_ones(serving_stack, tmp_path):
    ref, files = tiny_version(tmp_path, "pool_wrong_on_the_way", "1.0.0", bias=0.5)
    with attended(serving_stack, tmp_path) as control:
        pool = traffic.pool(control)
        exchange = machines.exchange(control)
        contents = {path.name: path.read_bytes() for path in files.iterdir()}
        wrong = contents["model.onnx"][:-1] + b"\0"
        exchange.put(ref.digest, contents | {"model.onnx": wrong})
        pool.ensure("stable", ref, files)
        until(lambda: pool.readiness("stable", ref.model, ref.digest).errors, 60, "the reason")
        readiness = pool.readiness("stable", ref.model, ref.digest)
        assert readiness.ready == 0
        assert "signed is" in readiness.errors[0]
        pool.drop("stable", ref.model, ref.digest)
    assert not (serving_stack.settings.serving_dir / "store" / ref.digest).exists()


@pytest.mark.traffic
def test_a_version_that_does_not_run_is_reported_and_the_others_go_on(serving_stack, tmp_path):
    good, good_files = tiny_version(tmp_path, "pool_good", "1.0.0", bias=0.6)
    bad, bad_files = tiny_version(tmp_path, "pool_bad", "1.0.0", bias=0.7)
    manifest = bad_files / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"output": "score"', '"output": "nothing"'))
    bad = bad.model_copy(update={"digest": signed(bad_files, "pool_bad")})
    serving_stack.pool.ensure("canary", bad, bad_files)
    serving_stack.load("canary", good, good_files)
    until(
        lambda: serving_stack.pool.readiness("canary", "pool_bad", bad.digest).errors,
        20,
        "the reason",
    )
    readiness = serving_stack.pool.readiness("canary", "pool_bad", bad.digest)
    assert readiness.ready == 0
    assert "does not run" in readiness.errors[0]
    serving_stack.pool.drop("canary", "pool_bad", bad.digest)
