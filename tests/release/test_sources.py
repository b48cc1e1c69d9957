"""A single source of labels cannot end a canary, unless the policy trusts it by name."""

from __future__ import annotations

import pytest

from perennial.core.release.phase import Phase
from perennial.core.verdict import Verdict

HOUR = 3600


@pytest.fixture
def status(world):
    """A release in its first step, under a policy that trusts no source alone."""
    world.use("canary", feedback={"sole_source": None, "source_share": 0.5})
    world.release_first()
    opened = world.open_second()
    world.serve(4000, 9000)
    return world.passes(opened.release_id, 1, HOUR)


def answer(world, status, labels: dict[str, tuple[int, bool]]) -> None:
    """Log answers of both versions with labels: source -> number, whether it says that the candidate is right."""
    given = [
        (number / count, f"{source}-{name}{number}", name, source, right, number % 2)
        for source, (count, right) in labels.items()
        for name in "ab"
        for number in range(count)
    ]
    for _, request, name, source, right, said in sorted(given):
        world.sleep(0.05)
        digest = status.candidate.digest if name == "a" else status.champion.digest
        world.predictions.rows.append(
            {
                "prediction_id": request, "request_id": request, "entity": "{}", "at": world.now,
                "digest": digest, "score": float(said), "decision": said, "task": "", "shadow": False,
            }
        )  # fmt: skip
        label = said if right or name == "b" else 1 - said
        world.store.feedback.put({request: float(label)}, world.now, source)


def accuracy(status):
    return next(judged for judged in status.evidence if judged.rule == "accuracy")


@pytest.mark.parametrize("honest", [0, 400])
def test_a_source_that_floods_cannot_end_a_canary(world, status, honest):
    answer(world, status, {"flood": (4000, False), "honest": (honest, True)})
    status = world.passes(status.release_id, 2)
    assert status.phase is Phase.CANARY
    judged = accuracy(status)
    assert judged.verdict is not Verdict.FAIL
    if honest:
        assert "400 by flood, 400 by honest" in judged.observed
        assert "not without the labels of flood" in judged.observed


def test_sources_that_agree_end_it_and_stand_in_the_ledger(world, status):
    answer(world, status, {"one": (1500, False), "two": (900, False)})
    status = world.passes(status.release_id, 2)
    assert status.phase in (Phase.ABORTING, Phase.ROLLED_BACK)
    assert "900 by one, 900 by two" in status.note
    ended = [row.entry for row in world.store.ledger.rows() if "900 by one" in str(row.entry.payload)]
    assert ended


def test_the_trusted_source_decides_alone_and_nobody_else(world):
    world.use("canary", feedback={"sole_source": "ci", "source_share": 0.5})
    world.release_first()
    opened = world.open_second()
    world.serve(4000, 9000)
    status = world.passes(opened.release_id, 1, HOUR)
    answer(world, status, {"flood": (4000, False), "ci": (300, True)})
    status = world.passes(status.release_id, 2)
    assert (status.phase, accuracy(status).verdict) == (Phase.CANARY, Verdict.PASS)
    assert "300 by ci" in accuracy(status).observed
    answer(world, status, {"ci": (1500, False)})
    status = world.passes(status.release_id, 2)
    assert "by ci" in status.note
    assert status.phase in (Phase.ABORTING, Phase.ROLLED_BACK)
