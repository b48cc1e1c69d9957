"""Repeat a test whose Envoy found a server failing that nobody had touched: the machine had stalled.

A router that gets no answer within its deadlines asks another server. That is what it is for; but a test that counts
which server answered says nothing then.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import pytest

ATTEMPTS = 3


@runtime_checkable
class Disturbed(Protocol):
    """Stack of servers that knows how often its router met a deadline."""

    def disturbances(self) -> Mapping[str, int]: ...

    def settle(self) -> None:
        """Wait until the router knows every server as healthy."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a test that uses such a stack, again where it failed in a disturbed moment."""
    stacks = [value for value in pyfuncitem.funcargs.values() if isinstance(value, Disturbed)]
    if not stacks:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    for attempt in range(1, ATTEMPTS + 1):
        for stack in stacks:
            stack.settle()
        before = [stack.disturbances() for stack in stacks]
        try:
            pyfuncitem.obj(**arguments)
        except AssertionError:
            after = [stack.disturbances() for stack in stacks]
            if attempt == ATTEMPTS or after == before:
                raise
            warnings.warn(f"{pyfuncitem.nodeid}: again, the router met deadlines: {after}", stacklevel=1)
        else:
            break
    return True
