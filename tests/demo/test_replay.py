"""The replay of a demo tells whether it has sent everything, or what has ended it."""

from __future__ import annotations

from perennial.demo.replay import Batch, RequestReplay


def ended(batches, finished: list[int]) -> RequestReplay:
    replay = RequestReplay("http://127.0.0.1:9", "m", batches, 1000.0, finished.append, "key")
    replay.start()
    replay.join(timeout=30)
    return replay


def test_a_cycle_without_a_sampled_test_sends_nothing_and_is_finished():
    finished: list[int] = []
    replay = ended([Batch(3, iter(())), Batch(4, iter(()), fresh=False)], finished)
    assert (replay.has_ended, replay.counts.sent, finished) == (True, 0, [3])


def test_an_error_of_any_kind_is_kept_and_is_no_end_of_the_batches():
    def batches():
        yield Batch(1, iter(()))
        raise KeyError("cycle")

    replay = ended(batches(), [])
    assert not replay.has_ended
    assert isinstance(replay.error, KeyError)
