"""Reads of many requests from a Redis over one connection, without a thread that waits."""

from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace

import hiredis
import pytest
from online_stores.redis_server import QUOTED
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from perennial.errors import FeaturesUnavailable


def pipeline(url: str, seconds: float = 30.0):
    from perennial.serving.online.redis_pipeline import RedisPipeline

    pool = ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=seconds)
    return RedisPipeline(pool.make_connection, seconds)


def command(*words) -> bytes:
    return hiredis.pack_command(words)


@pytest.fixture
def redis(redis_server):
    with redis_server.client() as client:
        for number in range(50):
            client.hset(f"h{number}", mapping={"a": str(number), "b": "x" * number})
    return redis_server


def readers(redis) -> set[str]:
    """Return the connections over which a hash was read last."""
    with redis.client() as client:
        return {each["id"] for each in client.client_list() if each["cmd"] == "hmget"}


def test_answers_come_to_those_who_asked(redis):
    async def run():
        before = readers(redis)
        reads = pipeline(redis.url)

        async def one(number: int):
            commands = [
                command("HMGET", f"h{(number + each) % 60}", "a", "b") for each in range(number % 3 + 1)
            ]
            return await reads.ask(b"".join(commands), len(commands))

        for _ in range(3):
            answers = await asyncio.gather(*map(one, range(60)))
            for number, answer in enumerate(answers):
                wanted = [(number + each) % 60 for each in range(number % 3 + 1)]
                assert answer == [[str(n).encode(), b"x" * n] if n < 50 else [None, None] for n in wanted]
        assert len(readers(redis) - before) == 1, "one connection for all"
        reads.retire()

    asyncio.run(run())


def test_an_error_is_of_its_request_only(redis):
    async def run():
        reads = pipeline(redis.url)
        wrong, right = reads.ask(command("GET", "h1"), 1), reads.ask(command("HGET", "h1", "a"), 1)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await wrong
        assert await right == [b"1"]
        reads.retire()

    asyncio.run(run())


def test_a_restart_of_redis_is_not_noticed_and_its_absence_is_told(redis):
    async def run():
        reads = pipeline(redis.url)
        assert await reads.ask(command("HGET", "h1", "a"), 1) == [b"1"]
        await asyncio.to_thread(redis.stop)
        with pytest.raises(RedisError):
            await reads.ask(command("HGET", "h1", "a"), 1)
        await asyncio.to_thread(redis.start)
        assert await reads.ask(command("HGET", "h1", "a"), 1) == [b"1"]
        await asyncio.to_thread(redis.stop)
        await asyncio.to_thread(redis.start)
        assert await reads.ask(command("HGET", "h1", "a"), 1) == [b"1"]
        reads.retire()

    asyncio.run(run())


def test_the_loop_goes_on_while_redis_hangs(redis):
    async def run():
        reads = pipeline(redis.url, 0.5)
        assert await reads.ask(command("HGET", "h1", "a"), 1) == [b"1"]
        os.kill(redis.process.pid, signal.SIGSTOP)
        try:
            waiting = [reads.ask(command("HGET", "h1", "a"), 1) for _ in range(3)]
            turns = 0
            while not waiting[0].done():
                await asyncio.sleep(0.01)
                turns += 1
            assert turns > 1
            for each in waiting:
                with pytest.raises(RedisTimeoutError, match=r"within 0\.5 s"):
                    await each
        finally:
            os.kill(redis.process.pid, signal.SIGCONT)
        # An answer to the requests that were given up must not be taken for one of these.
        assert await reads.ask(command("HGET", "h2", "a"), 1) == [b"2"]
        reads.retire()

    asyncio.run(run())


def test_a_wrong_password_is_told_without_it(redis):
    async def run():
        reads = pipeline(redis.url.replace(QUOTED, "hidden"))
        with pytest.raises(RedisError) as caught:
            await reads.ask(command("HGET", "h1", "a"), 1)
        assert "hidden" not in str(caught.value)

    asyncio.run(run())


def test_a_store_that_hangs_pauses_and_holds_up_nobody(redis):
    """After a failure nobody waits again for a second."""
    from perennial.serving.online.packed_redis import PackedRedisOnlineStore

    config = SimpleNamespace(
        project="p", online_store=SimpleNamespace(connection_string=redis.url, timeout_seconds=0.2)
    )

    async def run():
        store = PackedRedisOnlineStore()
        os.kill(redis.process.pid, signal.SIGSTOP)
        try:
            depths = []
            for _ in range(20):
                with pytest.raises(FeaturesUnavailable, match="Redis does not answer") as caught:
                    await store.fetch_packed(config, [(SimpleNamespace(name="v", features=[]), [b"key"])])
                depths.append(len(caught.traceback))
            assert max(depths) < 10  # a refused request holds nothing of those before
        finally:
            os.kill(redis.process.pid, signal.SIGCONT)

    asyncio.run(run())
