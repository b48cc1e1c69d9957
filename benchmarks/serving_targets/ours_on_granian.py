"""Our application on granian in place of uvicorn and BentoML; without gRPC."""

from __future__ import annotations

from perennial import settings as environment
from perennial.serving.bento import ServerParts, pool_of_process

parts = ServerParts(environment.load(), pool_of_process(), None)
started = False


async def app(scope, receive, send) -> None:
    global started  # granian's interface without a lifespan has no other place to start
    if not started:
        started = True
        parts.host.start()
    await parts.application(scope, receive, send)
