"""Somebody deletes in another tool what a release or a rollback names: it is on record, and the rest ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.errors import RollbackRefused, TrackerUnavailable, UnknownVersion

ROOT = Path(__file__).resolve().parents[2]
MODEL = "test_failure_predictor"
HERE, REGISTRY, DATA = (
    "release/test_deleted_elsewhere.py",
    "adapters/test_mlflow_files.py",
    "contracts/test_data_store.py",
)
ROWS = {
    "version of the rollback's target (MLflow)": (HERE, "test_rollback_to_a_deleted_version_is_settled"),
    "version that was left (MLflow)": (HERE, "test_rollback_from_a_deleted_version_is_settled"),
    "version of the live champion (MLflow)": (HERE, "test_next_release_after_a_rollback_to_a_deleted_version_starts"),
    "version of a candidate (MLflow)": (HERE, "test_candidate_deleted_in_the_registry_alone_gets_no_more_traffic"),
    "version of a candidate that has all traffic": (
        HERE, "test_candidate_deleted_when_it_has_all_traffic_stays_champion"
    ),
    "version of a candidate and its served files": (
        HERE, "test_candidate_deleted_with_its_served_files_is_aborted"
    ),
    "version of a former champion during a promotion": (
        HERE, "test_former_champion_deleted_while_its_successor_is_promoted"
    ),
    "run for good (`mlflow gc`)": (REGISTRY, "test_a_run_that_was_deleted_for_good"),
    "alias (MLflow)": (HERE, "test_without_the_alias_a_release_names_its_version"),
    "Airflow run": (HERE, "test_a_release_that_nobody_walked_for_a_day_goes_on"),
    "DAG of a release, or a task of its run was failed (Airflow)": (
        "release/test_unattended.py",
        "test_a_bad_candidate_is_aborted_although_nobody_walks_the_release",
    ),
    "DVC object, in the cache": (DATA, "test_dvc_fetches_from_the_remote_when_the_cache_is_gone"),
    "DVC object, in the remote too": (DATA, "test_dvc_without_cache_and_remote_is_told_and_made_again"),
    "served files of a version below `releases/files`": (HERE, "test_served_files_that_are_gone_are_fetched_again"),
    "one served file of a candidate without traffic": (
        HERE, "test_one_served_file_that_is_gone_before_traffic_rejects_the_release"
    ),
    "one served file of the rollback's target": (
        HERE, "test_one_served_file_of_the_rollback_target_that_is_gone_moves_nothing"
    ),
}  # fmt: skip
"""Row of the table in docs/guide/rollback.md -> the test of what it says."""


def test_every_row_of_the_table_has_its_test():
    text = (ROOT / "docs/guide/rollback.md").read_text()
    table = text.partition("## Who deletes what")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows[0] == "deleted by somebody else"
    assert rows[2:] == list(ROWS)
    for file, name in ROWS.values():
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), name


def lost(world) -> list[str]:
    rows = [row.entry for row in world.store.ledger.rows()]
    return [entry.payload["why"] for entry in rows if entry.kind == "lifecycle.lost"]


def start_third(world):
    world.versions.add("1.2.0")
    return world.start()


def test_rollback_to_a_deleted_version_is_settled(two):
    two.versions.lose("1")
    assert two.back()[0].version == "1.0.0"
    assert "key 1" in two.settle()[0]
    assert two.journal.pending() == []
    assert two.settle() == []
    assert "key 1" in lost(two)[0]
    assert "champion" not in two.versions.aliases, "the alias does not name the version that was left"
    assert two.versions.records["2"].tags["lifecycle"] == "archived"


def test_rollback_from_a_deleted_version_is_settled(two):
    two.versions.lose("2")
    two.back()
    assert two.settle() == []
    assert two.versions.aliases["champion"] == "1"


def test_next_release_after_a_rollback_to_a_deleted_version_starts(two):
    two.versions.lose("1")
    two.back()
    two.settle()
    status = start_third(two)
    assert status.gate.passed
    assert status.gate.risk.value == "high", "nothing is known of the champion's origin"


def test_former_champion_deleted_while_its_successor_is_promoted(world):
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    world.passes(status.release_id)
    world.versions.lose("1")
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    assert world.versions.aliases["champion"] == "2"
    assert "key 1" in lost(world)[0]


def after_all_traffic(world):
    """A release whose candidate has all traffic, a pass before it ends."""
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    world.passes(status.release_id, 2)
    assert world.router.route(MODEL).stable.version == "1.1.0"
    return status


def test_candidate_deleted_when_it_has_all_traffic_stays_champion(world):
    status = after_all_traffic(world)
    world.versions.lose("2")
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    assert "key 2" in lost(world)[0]
    assert start_third(world).phase is not Phase.PENDING


def reach(world, phase: Phase):
    """The second release, in this phase."""
    world.release_first()
    world.versions.add("1.1.0", architecture="new")
    status = world.start()
    for answer, until in (
        (None, Phase.AWAITING_APPROVAL),
        (IntentKind.APPROVE, Phase.LOADING),
        (None, Phase.SHADOW),
        (IntentKind.PROMOTE, Phase.PROMOTING),
    ):
        if answer is not None:
            world.say(status, answer)
        status = world.passes(status.release_id)
        assert status.phase is until
        if until is phase:
            break
    return status


@pytest.mark.parametrize("phase", [Phase.AWAITING_APPROVAL, Phase.LOADING, Phase.SHADOW, Phase.PROMOTING])
def test_candidate_deleted_in_the_registry_alone_gets_no_more_traffic(world, phase):
    """The servers hold its files, so nothing else would stop it."""
    status = reach(world, phase)
    world.versions.lose("2")
    world.say(status, IntentKind.APPROVE)
    world.say(status, IntentKind.PROMOTE)
    ended = world.passes(status.release_id, 8)
    assert ended.phase in (Phase.REJECTED, Phase.ROLLED_BACK)
    assert "the registry lost the candidate: " in ended.note
    assert "(key 2) was deleted there" in ended.note
    route = world.router.route(MODEL)
    assert (route.stable.version, route.canary) == ("1.0.0", None)
    assert "key 2" in lost(world)[0]
    assert start_third(world).phase is not Phase.PENDING


def test_a_registry_that_does_not_answer_stops_no_release(world):
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    world.passes(status.release_id)
    find = world.versions.find
    world.versions.find = away
    world.passes(status.release_id)
    world.versions.find = find
    assert world.passes(status.release_id, 2).phase is Phase.SUCCEEDED


def away(*arguments):
    raise TrackerUnavailable("MLflow is down")


def test_a_release_that_nobody_walked_for_a_day_goes_on(world):
    """Somebody deleted its run in Airflow."""
    world.release_first()
    status = world.open_second()
    world.sleep(24 * 3600)
    assert world.store.releases.load(status.release_id).phase is status.phase
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED


def test_served_files_that_are_gone_are_fetched_again(world):
    world.release_first()
    status = world.open_second()
    shutil.rmtree(world.ports.files / status.candidate.digest)
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    assert (world.ports.files / status.candidate.digest / "model.onnx").is_file()


def test_one_served_file_that_is_gone_before_traffic_rejects_the_release(world):
    status = reach(world, Phase.AWAITING_APPROVAL)
    (world.ports.files / status.candidate.digest / "manifest.json").unlink()
    ended = world.passes(status.release_id, 2)
    assert (ended.phase, "changed since the gate" in ended.note) == (Phase.REJECTED, True)


def test_one_served_file_of_the_rollback_target_that_is_gone_moves_nothing(two):
    digest = two.versions.records["1"].ref.digest
    (two.ports.files / digest / "model.onnx").unlink()
    with pytest.raises(RollbackRefused, match="files"):
        two.back()
    assert two.router.route(MODEL).stable.version == "1.1.0"


def test_abort_of_a_deleted_candidate_ends(world):
    world.release_first()
    status = world.open_second()
    world.versions.lose("2")
    world.say(status, IntentKind.ABORT)
    assert world.passes(status.release_id, 3).phase is Phase.ROLLED_BACK
    assert world.router.route(MODEL).canary is None
    assert "key 2" in lost(world)[0]


@pytest.mark.parametrize("promoting", [True, False])
def test_candidate_deleted_with_its_served_files_is_aborted(world, promoting):
    """Version and served files are gone: no server can load it again."""
    world.release_first()
    status = world.open_second()
    if promoting:
        world.say(status, IntentKind.PROMOTE)
        assert world.passes(status.release_id).phase is Phase.PROMOTING
    world.versions.lose("2")
    shutil.rmtree(world.ports.files / status.candidate.digest)
    status = world.passes(status.release_id, 5)
    if promoting:
        assert status.phase is Phase.ROLLED_BACK
        assert world.router.route(MODEL).stable.version == "1.0.0"
    else:
        world.say(status, IntentKind.ABORT)
        assert world.passes(status.release_id, 3).phase.is_final()


def test_without_the_alias_a_release_names_its_version(two):
    two.versions.add("1.2.0")
    two.versions.aliases.clear()
    with pytest.raises(UnknownVersion):
        two.start()
    assert two.start("1.2.0").phase is not Phase.PENDING


def test_deleted_aliases_are_set_again_by_the_next_promotion(two):
    two.versions.aliases.clear()
    status = start_third(two)
    two.say(status, IntentKind.APPROVE)
    two.say(status, IntentKind.PROMOTE)
    assert two.passes(status.release_id, 6).phase is Phase.SUCCEEDED
    assert two.versions.aliases == {"champion": "3", "previous": "2"}
