"""Certificates that cannot be read when they are replaced: a process without free descriptors reads them later."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from perennial.internal_tls.contexts import server_context
from perennial.internal_tls.identity import Identity
from perennial.serving.access.grpc_callers import Certificates


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_next_connection_reads_them(inside):
    context = server_context(Identity(inside.folder / "pool"))
    before = context.current()
    inside.renew()
    with no_free_descriptor():
        assert context.current() is before
    assert context.current() is not before


def test_the_next_call_by_grpc_reads_them(inside):
    certificates = Certificates(Identity(inside.folder / "pool"))
    inside.renew()
    with no_free_descriptor():
        assert certificates.changed() is None
    assert certificates.changed() is not None
    assert certificates.changed() is None
