"""One suite for every Probe: the fake and the real model servers."""

from __future__ import annotations

import pytest
from doubles.routing import MemoryPool, MemoryProbe
from tiny_models import tiny_version

from perennial.adapters.bentoml.probe import BentoProbe

BODY = {"entities": [{"test_id": "t1", "suite": "s"}], "context": {}}


@pytest.fixture(params=["memory", pytest.param("bento", marks=pytest.mark.traffic)])
def scene(request):
    """A probe and its pool."""
    if request.param == "memory":
        pool = MemoryPool()
        return MemoryProbe(pool), pool
    stack = request.getfixturevalue("serving_stack")
    servers = {name: stack.settings.ports(name) for name in ("stable", "canary")}
    return BentoProbe(stack.settings.host, servers, stack.settings.internal_secret), stack.pool


def test_what_is_not_loaded_does_not_answer(scene, tmp_path):
    probe, _ = scene
    ref, _ = tiny_version(tmp_path, "probed", "1.0.0", bias=0.9)
    said = probe.predict("stable", ref.model, ref.digest, BODY)
    assert said
    assert "503" in said or "404" in said


@pytest.mark.traffic
def test_a_refusal_is_told_in_the_servers_words(serving_stack, tmp_path):
    ref, files = tiny_version(tmp_path, "by_tensor", "1.0.0", bias=0.95)
    serving_stack.load("stable", ref, files)
    servers = {name: serving_stack.settings.ports(name) for name in ("stable", "canary")}
    said = BentoProbe("127.0.0.1", servers, serving_stack.settings.internal_secret).predict(
        "stable", ref.model, ref.digest, BODY
    )
    assert said.startswith("400")
    assert "no feature service" in said


def test_servers_that_are_gone_are_told():
    said = BentoProbe("127.0.0.1", {"stable": (9,)}).predict("stable", "m", "d", BODY)
    assert "127.0.0.1:9" in said
