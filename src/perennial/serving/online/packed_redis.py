"""Redis as a packed online store (`serving.online.packed`); needs the extra `redis`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import hiredis
from feast import FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from google.protobuf.timestamp_pb2 import Timestamp
from redis import Redis, RedisError
from redis.asyncio import ConnectionPool as AsyncConnectionPool
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from perennial.errors import FeaturesUnavailable
from perennial.serving.online.packed import PACKED, PackedOnlineStore, Read, Stored
from perennial.serving.online.redis_pipeline import RedisPipeline

PAUSE_SECONDS = 1.0
"""After a failure nobody waits for Redis during this time, so that other requests are not held up again and again."""


class PackedRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Configuration; `connection_string` is an address as `redis://user:password@host:6379/0`."""

    type: Literal["perennial.serving.online.packed_redis.PackedRedisOnlineStore"] = (  # type: ignore[assignment]
        "perennial.serving.online.packed_redis.PackedRedisOnlineStore"
    )
    timeout_seconds: float = 1.0
    """Longest wait for an answer."""
    skip_dedup: bool = True
    """Without it Feast's store keeps a row of the same time: one since corrected, or without a new feature."""


class PackedRedisOnlineStore(PackedOnlineStore, RedisOnlineStore):
    """Redis; a hash per entity, with a value and a time per view.

    Its methods raise FeaturesUnavailable where Redis does not answer; a later call connects again.
    """

    _failure: FeaturesUnavailable | None = None
    _failed_at = 0.0
    _pipeline: RedisPipeline | None = None
    _connection: Any = None
    _used = False
    """Whether the connection has answered."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._hash_fields: dict[str, list[str | bytes]] = {}

    # Feast's store reads all views of a service at once, without `online_read`.
    _read_features_per_fv = OnlineStore._read_features_per_fv

    def read_packed(
        self, config: RepoConfig, asked: Sequence[tuple[FeatureView, Sequence[bytes]]]
    ) -> list[list[Stored | None]]:
        """Read all views in one round trip."""
        commands = self._commands(config, asked)
        with self._answering():
            rows = iter(self._call(config.online_store, commands))
        return [[_stored(*next(rows)) for _ in keys] for _, keys in asked]

    waits = True

    async def fetch_packed(
        self, config: RepoConfig, asked: Sequence[tuple[FeatureView, Sequence[bytes]]]
    ) -> list[list[Stored | None]]:
        commands = self._commands(config, asked)
        if self._failure is not None:
            self._refuse_in_pause()
        pipeline = self._pipeline
        if pipeline is None or pipeline.loop is not asyncio.get_running_loop():
            pipeline = self._pipeline = self._new_pipeline(config.online_store)
        try:
            rows = iter(await pipeline.ask(b"".join(commands), len(commands)))
        except RedisError as error:
            raise self._failed(error) from error
        self._failure = None
        return [[_stored(*next(rows)) for _ in keys] for _, keys in asked]

    def close_connection(self) -> None:
        if self._pipeline is not None:
            self._pipeline.retire()

    def _new_pipeline(self, config: PackedRedisOnlineStoreConfig) -> RedisPipeline:
        pool: AsyncConnectionPool[Any] = AsyncConnectionPool.from_url(
            config.connection_string, **_options(config), retry=AsyncRetry(NoBackoff(), 0)
        )
        # The address may have a time of its own.
        return RedisPipeline(pool.make_connection, pool.connection_kwargs["socket_timeout"])

    def _commands(
        self, config: RepoConfig, asked: Sequence[tuple[FeatureView, Sequence[bytes]]]
    ) -> list[bytes]:
        """Return a command per key, as Redis reads them."""
        project = config.project.encode()
        return [
            hiredis.pack_command(("HMGET", key + project, *self._fields(view)))
            for view, keys in asked
            for key in keys
        ]

    def _fields(self, view: FeatureView) -> list[str | bytes]:
        """Return the fields of the value and of its time."""
        if view.name not in self._hash_fields:
            _, self._hash_fields[view.name] = self._generate_hset_keys_for_features(
                self.packed(view), [PACKED]
            )
        return self._hash_fields[view.name]

    def _call(self, config: PackedRedisOnlineStoreConfig, commands: list[bytes]) -> list[Any]:
        """Send commands at once over a connection that stays; return the answers.

        A pipeline of the library takes a connection of its pool, tests it and gives it back, which costs twice as much
        as the commands themselves.
        """
        if self._connection is None:
            self._connection = self._get_client(config).connection_pool.make_connection()
        connection = self._connection
        used, self._used = self._used, False
        try:
            connection.send_packed_command([b"".join(commands)])
            answers = [connection.read_response() for _ in commands]
        except BaseException as error:
            connection.disconnect()  # an answer may be left in it
            if used and isinstance(error, RedisConnectionError):
                return self._call(config, commands)  # it was from before a restart of Redis
            raise
        self._used = True
        return answers

    def moment(self, at: bytes) -> datetime:
        return Timestamp.FromString(at).ToDatetime(UTC)

    def read_unpacked(self, *given: Any) -> list[Read]:
        with self._answering():
            return super().read_unpacked(*given)

    def online_write_batch(self, *given: Any, **named: Any) -> None:
        with self._answering():
            super().online_write_batch(*given, **named)

    def update(self, *given: Any, **named: Any) -> None:
        with self._answering():
            super().update(*given, **named)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        self._refuse_in_pause()
        try:
            yield
        except RedisError as error:
            raise self._failed(error) from error
        self._failure = None

    def _refuse_in_pause(self) -> None:
        if self._failure is not None and time.monotonic() - self._failed_at < PAUSE_SECONDS:
            # Each raise would add its frames, and with them what the requests of a whole second hold.
            raise self._failure.with_traceback(None)

    def _failed(self, error: RedisError) -> FeaturesUnavailable:
        self._failed_at = time.monotonic()
        self._failure = FeaturesUnavailable(
            f"the online store in Redis does not answer: {error}",
            hint="start Redis, or correct PERENNIAL_ONLINE_STORE; requests by tensor need no online store",
        )
        return self._failure

    def _get_client(self, online_store_config: PackedRedisOnlineStoreConfig) -> Redis:
        if self._client is None:
            self._client = Redis.from_url(
                online_store_config.connection_string,
                **_options(online_store_config),
                retry=Retry(NoBackoff(), 0),
            )
        return self._client


def _options(config: PackedRedisOnlineStoreConfig) -> dict[str, Any]:
    return {"socket_timeout": config.timeout_seconds, "socket_connect_timeout": config.timeout_seconds}


def _stored(value: bytes | None, at: bytes | None) -> Stored | None:
    return None if value is None else (at, value)
