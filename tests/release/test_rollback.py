"""The emergency way back: all checks first, then one step, then the record."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.errors import RollbackRefused, RouterUnavailable, UnknownRelease

MODEL = "test_failure_predictor"


def back(world, to=None, **more):
    return world.back(to, **more)[0]


def refused(world, what: str, to=None) -> str:
    """Nothing may have changed: traffic, labels, ledger, journal."""
    live, rows, aliases = (
        world.router.route(MODEL), len(world.store.ledger.rows()), dict(world.versions.aliases),
    )  # fmt: skip
    with pytest.raises(RollbackRefused, match=what) as caught:
        world.back(to)
    assert world.settle() == []
    assert (world.router.route(MODEL), world.versions.aliases) == (live, aliases)
    assert len(world.store.ledger.rows()) == rows
    assert world.journal.pending() == []
    assert "nothing has changed" in caught.value.message
    return caught.value.hint


def first_files(world):
    return world.ports.files / world.versions.records["1"].ref.digest


def test_previous_champion_gets_everything(two):
    target = back(two)
    assert target.version == "1.0.0"
    assert two.router.route(MODEL).stable == target
    assert two.router.route(MODEL).backup is None, "what was just left is nobody's backup"
    assert two.settle() == []
    assert two.versions.aliases == {"champion": "1"}
    assert two.versions.records["2"].tags["lifecycle"] == "archived"
    row = two.store.ledger.rows()[-1].entry
    assert (row.kind, row.actor, row.payload["from"]) == ("release.rollback", "ann", "1.1.0")
    assert [one["name"] for one in row.payload["checks"]] == [
        "pool", "files", "schema and threshold", "features", "online store",
    ]  # fmt: skip


def test_works_without_the_registry_which_is_caught_up_with(two):
    two.versions.down = True
    target = back(two)
    assert two.router.route(MODEL).stable == target
    assert "follow when MLflow answers" in two.settle()[0]
    two.versions.down = False
    before = len(two.store.ledger.rows())
    assert two.settle() == []
    assert two.versions.aliases["champion"] == "1"
    assert two.settle() == []
    assert len(two.store.ledger.rows()) == before, "written once"
    assert two.back("1.0.0")[1] is None, "nothing moves the second time"


def test_killed_before_the_record_it_is_written_later(two, monkeypatch):
    """The journal is put before the traffic moves."""
    killed_once_the_traffic_has_moved(two, monkeypatch)
    assert two.settle() == []
    assert two.store.ledger.rows()[-1].entry.kind == "release.rollback"
    assert two.versions.aliases == {"champion": "1"}


def test_killed_before_the_traffic_moved_it_never_was(two, monkeypatch):
    def killed(route):
        raise KeyboardInterrupt

    monkeypatch.setattr(two.router, "apply", killed)
    with pytest.raises(KeyboardInterrupt):
        back(two)
    monkeypatch.undo()
    before = len(two.store.ledger.rows())
    assert (two.settle(), len(two.journal.pending())) == ([], 1), "it may still be at it"
    two.now += timedelta(minutes=2)
    assert (two.settle(), two.journal.pending()) == ([], [])
    assert len(two.store.ledger.rows()) == before


def test_labels_are_left_alone_when_traffic_moved_on_meanwhile(two):
    two.versions.down = True
    back(two)
    two.settle()
    two.versions.down = False
    two.back("1.1.0")
    assert two.settle() == []
    assert two.versions.aliases["champion"] == "2"
    kinds = [row.entry.payload.get("to") for row in two.store.ledger.rows()[-2:]]
    assert kinds == ["1.0.0", "1.1.0"]


def test_one_process_at_a_time_writes(two):
    back(two)
    two.journal.taken = True
    assert "another process" in two.settle()[0]
    assert len(two.journal.pending()) == 1


def test_canary_on_its_way_is_aborted_and_the_champion_stays(two):
    two.versions.add("1.2.0")
    third = two.passes(two.start().release_id)
    two.serve(400, 4000)
    third = two.passes(third.release_id, 1, 3600)
    assert two.router.route(MODEL).canary_weight == 5
    two.asked, two.probe.refusing = [], "broken"
    assert back(two).version == "1.1.0", "the champion that stays is not checked"
    assert two.router.route(MODEL).canary is None
    assert two.router.route(MODEL).backup.version == "1.0.0"
    third = two.passes(third.release_id)
    assert two.router.route(MODEL).canary is None, "a pass before the record gives no share back"
    assert two.settle() == []
    assert two.passes(third.release_id, 2).phase is Phase.ROLLED_BACK
    assert two.router.route(MODEL).stable.version == "1.1.0"
    rows = [row.entry for row in two.store.ledger.rows() if row.entry.kind == "release.withdrawn"]
    assert [(one.payload["version"], one.payload["to"], one.actor) for one in rows] == [
        ("1.2.0", "1.1.0", "ann")
    ]


@pytest.fixture
def promoting(world):
    """1.0.0 is champion; 1.1.0 has a share and is about to get everything."""
    world.release_first()
    status = world.open_second()
    world.serve(400, 4000)
    status = world.passes(status.release_id, 1, 3600)
    world.say(status, IntentKind.PROMOTE)
    status = world.passes(status.release_id)
    assert (status.phase, world.router.route(MODEL).canary_weight) == (Phase.PROMOTING, 5)
    return world, status


def withdrawn(world, status) -> None:
    """The candidate stays without traffic, and nothing claims that it was promoted."""
    status = world.passes(status.release_id, 3)
    assert status.phase is Phase.ROLLED_BACK
    assert "emergency rollback" in status.note
    live = world.router.route(MODEL)
    assert (live.stable.version, live.canary) == ("1.0.0", None)
    assert world.versions.aliases["champion"] == "1"
    assert world.kinds().count("succeeded") == 1, "the first release's"


def test_a_promotion_that_is_taken_back_stays_back_before_the_record_too(promoting):
    world, status = promoting
    assert back(world).version == "1.0.0"
    world.passes(status.release_id)
    assert world.router.route(MODEL).stable.version == "1.0.0"
    assert world.settle() == []
    withdrawn(world, status)


def test_a_promotion_is_taken_back_by_the_record_alone_too(promoting):
    world, status = promoting
    back(world)
    assert world.settle() == []
    withdrawn(world, status)


@pytest.mark.parametrize("everything", [True, False])
def test_traffic_that_a_withdrawn_candidate_got_meanwhile_is_taken_away_by_the_record(promoting, everything):
    """Whoever walked the release could not know of the rollback."""
    world, status = promoting
    live = world.router.route(MODEL)
    back(world)
    world.router.apply(status.alone if everything else live)
    assert world.settle() == []
    withdrawn(world, status)


def test_a_promotion_that_ends_while_a_person_takes_its_share_back_is_rolled_back(promoting, monkeypatch):
    """The router makes the person wait; meanwhile the candidate gets everything and is champion."""
    world, status = promoting
    real = world.router.apply

    def waits(route):
        monkeypatch.setattr(world.router, "apply", real)
        assert world.passes(status.release_id, 2).phase is Phase.SUCCEEDED
        real(route)

    monkeypatch.setattr(world.router, "apply", waits)
    assert back(world).version == "1.0.0"
    assert world.settle() == []
    assert world.router.route(MODEL).stable.version == "1.0.0"
    assert world.versions.aliases["champion"] == "1"
    assert world.kinds()[-1] == "rollback"


def killed_once_the_traffic_has_moved(world, monkeypatch) -> None:
    real = world.router.apply

    def killed_after(route):
        real(route)
        raise KeyboardInterrupt

    monkeypatch.setattr(world.router, "apply", killed_after)
    with pytest.raises(KeyboardInterrupt):
        back(world)
    monkeypatch.undo()


def test_killed_and_asked_again_it_goes_no_further_back(two, monkeypatch):
    killed_once_the_traffic_has_moved(two, monkeypatch)
    assert two.back()[1] is None, "nothing moves the second time"
    assert two.router.route(MODEL).stable.version == "1.0.0"
    assert two.settle() == []
    assert two.kinds()[-1] == "rollback"


def test_a_share_taken_back_killed_and_asked_again_leaves_the_champion(two, monkeypatch):
    two.versions.add("1.2.0")
    two.passes(two.start().release_id)
    killed_once_the_traffic_has_moved(two, monkeypatch)
    assert two.back()[1] is None
    assert two.router.route(MODEL).stable.version == "1.1.0"
    assert two.settle() == []
    two.versions.down = True
    assert back(two).version == "1.0.0", "asked anew after the record it is another rollback"


def test_version_that_no_server_holds_is_loaded_from_this_machine(two):
    digest = two.versions.records["1"].ref.digest
    two.pool.drop("stable", MODEL, digest)
    assert back(two).version == "1.0.0"
    assert digest in {ref.digest for ref in two.pool.holds("stable")}


def test_version_that_cannot_be_loaded_moves_nothing(two):
    two.pool.slow.add(two.versions.records["1"].ref.digest)
    assert "local status" in refused(two, "pool: 0 of 2")


def test_changed_model_file_moves_nothing(two):
    file = first_files(two) / "model.onnx"
    file.write_bytes(file.read_bytes() + b"!")
    refused(two, "files: .*digest")


def test_edited_threshold_moves_nothing(two):
    file = first_files(two) / "manifest.json"
    file.write_text(file.read_text().replace("0.5", "0.9"))
    refused(two, "files: .*manifest.json has digest")


def test_feature_that_means_something_else_moves_nothing(two):
    two.published = {"a": "a2", "c": "c1"}
    assert "features publish" in refused(two, "gone: b; changed: a")


def test_features_that_came_since_do_not_matter(two):
    two.published = {"a": "a1", "b": "b1", "c": "c2", "d": "d1"}
    assert back(two).version == "1.0.0"


def test_online_store_that_does_not_answer_moves_nothing(two):
    two.probe.refusing = "404 no features are known"
    assert "publish" in refused(two, "online store: 1.0.0 answers none of the 1 requests")


def test_rows_of_its_own_are_asked_and_unknown_entities_of_clients_do_not_block(two):
    """The newest requests name entities that never were: they are no examples (`recent_requests`)."""
    two.asked = []
    two.probe.refusing = "404 no features are known"
    assert back(two).version == "1.0.0"
    assert two.probe.rows
    two.settle()
    checks = two.store.ledger.rows()[-1].entry.payload["checks"]
    assert "rows of its own are scored" in checks[-1]["observed"]


def test_a_goal_that_scores_nothing_moves_nothing(two):
    two.asked, two.probe.not_scoring = [], "500 a score is not finite"
    refused(two, "does not score 1 rows of its own: 500")


def test_a_store_that_fails_moves_nothing_though_nobody_asked(two):
    two.asked, two.probe.refusing = [], "503 Feast does not answer"
    refused(two, "answers no request by entity: 503")


def test_forced_with_a_reason_that_stands_in_the_ledger(two):
    two.probe.refusing = "503 Feast does not answer"
    assert "--force" in refused(two, "503")
    assert back(two, forced="the store comes back later").version == "1.0.0"
    two.settle()
    payload = two.store.ledger.rows()[-1].entry.payload
    assert payload["forced"] == "the store comes back later"
    assert not payload["checks"][-1]["ok"]


def test_changed_files_cannot_be_forced(two):
    (first_files(two) / "seal.json").write_text("{")
    with pytest.raises(RollbackRefused):
        back(two, forced="whatever")


def test_unreadable_seal_moves_nothing(two):
    (first_files(two) / "seal.json").write_text("{")
    refused(two, "seal")


def test_versions_from_before_there_were_seals_go_back_with_a_word(two):
    (first_files(two) / "seal.json").unlink()
    moved = two.back()[1]
    said = {one.name: one.observed for one in moved.checks}
    assert "not compared" in said["features"]
    assert "not compared" in said["schema and threshold"]


def test_nothing_to_go_back_to(world):
    with pytest.raises(UnknownRelease, match="no traffic"):
        back(world)
    world.release_first()
    with pytest.raises(UnknownRelease, match="champion before"):
        back(world)
    with pytest.raises(UnknownRelease, match="never was champion"):
        back(world, "9.9.9")


def test_an_earlier_champion_by_name_when_none_is_kept(two):
    back(two)
    two.settle()
    with pytest.raises(UnknownRelease, match="is not kept") as caught:
        back(two)
    assert "1.1.0" in caught.value.hint
    assert back(two, "1.1.0").version == "1.1.0"


def test_router_down_is_told(two):
    two.router.down = True
    with pytest.raises(RouterUnavailable):
        back(two)
    assert two.versions.aliases["champion"] == "2"
    assert two.journal.pending() == []


def test_a_rollback_between_the_look_and_the_deed_of_a_pass_stands(two, monkeypatch):
    """Whoever walks the release has seen 1.1.0 as champion, and is about to give 1.2.0 its first share."""
    two.versions.add("1.2.0")
    third = two.passes(two.start().release_id)
    two.serve(400, 4000)
    real, moved = two.router.apply, []

    def rolled_back_first(route, *expected):
        monkeypatch.setattr(two.router, "apply", real)
        moved.append(back(two, "1.0.0"))
        real(route, *expected)

    monkeypatch.setattr(two.router, "apply", rolled_back_first)
    third = two.passes(third.release_id, 1, 3600)
    assert [one.version for one in moved] == ["1.0.0"]
    live = two.router.route(MODEL)
    assert (live.stable.version, live.canary) == ("1.0.0", None)
    assert two.settle() == []
    assert two.passes(third.release_id, 2).phase is Phase.ROLLED_BACK
    assert two.router.route(MODEL).stable.version == "1.0.0"
    assert two.versions.aliases["champion"] == "1"
