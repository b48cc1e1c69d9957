"""Labels that come in a later step than their requests."""

from __future__ import annotations

from datetime import timedelta

from perennial.core.release.label_counts import without_overlap
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus

HOUR = 3600


def requests(world, status: ReleaseStatus, count: int) -> dict[str, float]:
    """Log answers of both versions, every third of the candidate's wrong; return their labels, which have not come."""
    labels = {}
    for number in range(count):
        for version in (status.champion, status.candidate):
            right = version is status.champion or number % 3 != 0
            name = f"{version.version}-{number}"
            world.predictions.rows.append(
                {
                    "prediction_id": name, "request_id": name, "entity": "{}", "at": world.now,
                    "digest": version.digest, "score": 1.0 if right else 0.0, "decision": 1 if right else 0,
                    "task": "", "shadow": False,
                }
            )  # fmt: skip
            labels[name] = 1.0
        world.now += timedelta(seconds=10)
    return labels


def hold(world, status, seconds: float) -> ReleaseStatus:
    world.serve(4000, 9000)
    return world.passes(status.release_id, 1, seconds)


def with_delay(world) -> None:
    monitoring = world.spec.monitoring.model_copy(update={"label_delay": timedelta(hours=1)})
    world.spec = world.spec.model_copy(update={"monitoring": monitoring})


def test_labels_of_the_step_before_take_a_candidate_back(world):
    with_delay(world)
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    assert (status.phase, status.step) == (Phase.CANARY, 0)
    labels = requests(world, status, 1500)
    status = hold(world, status, 6 * HOUR)
    assert (status.phase, status.step) == (Phase.CANARY, 1)
    assert [step.ended for step in status.labelled_steps][-1] == status.entered_at
    assert ReleaseStatus.model_validate_json(status.model_dump_json()) == status
    world.store.feedback.put(labels, world.now, "ci")
    status = world.passes(status.release_id, 2, HOUR / 6)
    assert status.phase is Phase.ROLLED_BACK
    assert "accuracy" in status.note
    assert "earlier step" in status.note


def test_hours_that_a_clock_repeats_are_not_counted_twice(world):
    world.release_first()
    status = hold(world, hold(world, world.open_second(), HOUR), 6 * HOUR)
    first, second = status.labelled_steps
    assert first.ended <= second.began
    until = second.began + timedelta(minutes=1)
    assert [step.ended for step in without_overlap((first, second), until)] == [first.ended, until]
    assert without_overlap((first, second), second.began) == (first,)


def test_a_status_without_earlier_steps_is_stored_as_before(world):
    world.release_first()
    status = world.open_second()
    assert "labelled_steps" not in status.model_dump()
    stored = status.model_dump(mode="json")
    assert ReleaseStatus.model_validate(stored).labelled_steps == ()
