"""Reads from a Redis for the requests of one event loop: those of a turn of the loop travel together.

redis-py connects (address, TLS, password, database); then this protocol has its transport. The library's own
asynchronous reads take a round trip and several coroutines for each request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError


class _Asked(NamedTuple):
    """Commands of a request; `at` is the time of the loop at which they were asked."""

    commands: bytes
    count: int
    answers: asyncio.Future[list[Any]]
    at: float


class RedisPipeline(asyncio.Protocol):
    """A connection that is opened with the first read, and again after it was lost.

    Args:
        connection: returns a connection of redis-py that is not open yet.
        timeout_seconds: longest wait for an answer, the time to connect included.
    """

    def __init__(self, connection: Callable[[], AbstractConnection], timeout_seconds: float) -> None:
        self.loop = asyncio.get_running_loop()
        self._connection = connection
        self._seconds = timeout_seconds
        self._transport: Any = None
        self._opening: asyncio.Task[None] | None = None
        self._reader: Any = None
        self._queue: list[_Asked] = []
        self._sent: deque[_Asked] = deque()
        self._read: list[Any] = []
        self._answered = False
        self._watch: asyncio.TimerHandle | None = None
        self._retired = False

    def ask(self, commands: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Return the answers to come of read commands, which may be sent twice.

        Args:
            commands: in the form of the protocol, one after the other. count: how many.

        The future raises RedisError: there is no answer in time, or one is an error.
        """
        asked = _Asked(commands, count, self.loop.create_future(), self.loop.time())
        if not self._queue:
            # After the other requests that came in this turn of the loop: one write and one answer for all of them.
            self.loop.call_soon(self._send)
        self._queue.append(asked)
        return asked.answers

    def retire(self) -> None:
        """Close the connection as soon as nobody waits for an answer; for other threads."""
        self._retired = True
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._close_if_retired)

    def _send(self) -> None:
        if self._watch is None:
            self._watch = self.loop.call_later(self._seconds, self._look)
        if self._transport is None:
            if self._opening is None:
                self._opening = self.loop.create_task(self._open())
            return
        if self._transport.is_closing():
            return  # `connection_lost` goes on
        asked, self._queue = self._queue, []
        self._sent.extend(asked)
        self._transport.write(b"".join([each.commands for each in asked]))

    async def _open(self) -> None:
        connection = self._connection()
        try:
            await connection.connect()
            stream = connection._writer
            if stream is None:
                raise RedisConnectionError("the connection was lost")
        except (RedisError, OSError) as error:
            self._opening = None
            self._fail(error if isinstance(error, RedisError) else RedisConnectionError(str(error)))
            return
        self._opening = None
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError)
        self._read, self._answered = [], False
        self._stream = stream  # kept, since it closes the transport when it is forgotten
        connection._reader = connection._writer = None
        self._transport = stream.transport
        self._transport.set_protocol(self)
        if self._queue:
            self._send()

    def data_received(self, data: bytes) -> None:
        reader, read, sent = self._reader, self._read, self._sent
        reader.feed(data)
        try:
            while (answer := reader.gets()) is not False:
                read.append(answer)
                if len(read) == sent[0].count:
                    self._resolve(sent.popleft().answers, read)
                    read = self._read = []
        except (RedisError, IndexError) as error:  # IndexError: more answers than commands
            self._transport.abort()
            self._fail(error if isinstance(error, RedisError) else InvalidResponse("unasked answer"))
            return
        self._answered = True
        self._close_if_retired()

    def _resolve(self, answers: asyncio.Future[list[Any]], read: list[Any]) -> None:
        if answers.done():  # the request was given up
            return
        for answer in read:
            if isinstance(answer, Exception):
                answers.set_exception(answer)
                return
        answers.set_result(read)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._sent and not self._answered:
            self._fail(RedisConnectionError(f"the connection was lost: {error or 'closed by Redis'}"))
        # One that has answered may be from before a restart of Redis: the new one is asked.
        self._queue = [*self._sent, *self._queue]
        self._sent.clear()
        if self._queue:
            self._send()

    def _look(self) -> None:
        """End what waits for too long; one timer for all requests."""
        self._watch = None
        waiting = [*self._sent, *self._queue]
        if not waiting:
            return
        rest = waiting[0].at + self._seconds - self.loop.time()
        if rest > 0:
            self._watch = self.loop.call_later(rest, self._look)
            return
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._transport is not None:
            self._transport.abort()  # its answers may come yet
        self._fail(RedisTimeoutError(f"no answer within {self._seconds:g} s"))

    def _fail(self, error: RedisError) -> None:
        waiting = [*self._sent, *self._queue]
        self._sent.clear()
        self._queue = []
        for each in waiting:
            if not each.answers.done():
                each.answers.set_exception(error)

    def _close_if_retired(self) -> None:
        if self._retired and self._transport is not None and not self._sent and not self._queue:
            self._transport.close()
