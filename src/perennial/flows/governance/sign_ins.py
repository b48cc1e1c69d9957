"""Delay guesses of passwords at a server, and record refused sign-ins in the ledger."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock
from types import MappingProxyType

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.governance.sign_in import NO_ACCOUNT, SignIns
from perennial.errors import PerennialError
from perennial.flows.governance.identity import NO_MODEL
from perennial.ports import Ledger

LOG = logging.getLogger(__name__)


class SignInGuard:
    """Guard of one server's sign-ins.

    Args:
        server: who writes the entries.
        is_account: returns whether a name is an account of the server.
        ledger: where refused attempts are recorded: at once, then once a minute and account with their number.
        key: random bytes; the hashes of passwords in memory are useless without it.
        seconds: a clock that never goes back.
        known: passwords of accounts, for people who have not signed in since the start; only hashes are kept.
    """

    def __init__(
        self,
        server: SystemActor,
        is_account: Callable[[str], bool],
        ledger: Ledger,
        key: bytes,
        seconds: Callable[[], float],
        now: Callable[[], datetime],
        known: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._server, self._is_account, self._ledger, self._key = server, is_account, ledger, key
        self._seconds, self._now = seconds, now
        self._sign_ins, self._lock = SignIns(), Lock()
        for name, password in known.items():
            self._sign_ins.know(name, self._proof(name, password))

    def check(
        self, name: str, password: str, address: str | None, is_right: Callable[[], bool]
    ) -> int | None:
        """Check a password, unless the account or the address has to wait.

        Args:
            is_right: checks the password; called at most once.

        Returns:
            0 when it is right, None when it is wrong, else the seconds to wait: the password was not looked at.
        """
        account = name if self._is_account(name) else NO_ACCOUNT
        proof = self._proof(name, password)
        address = None if _is_loopback(address) else address
        with self._lock:
            wait = self._sign_ins.begin(account, address, proof, self._seconds())
        right = wait == 0.0 and is_right()
        with self._lock:
            if right:
                self._sign_ins.accepted(account, address, proof)
            elif wait == 0.0:
                self._sign_ins.refused(account, proof)
            due = self._sign_ins.due(self._seconds())
        self._record(due)
        return 0 if right else math.ceil(wait) or None

    def _proof(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{name}:{password}".encode(errors="surrogatepass"), hashlib.sha256)

    def _record(self, due: dict[str, int]) -> None:
        """Record refused attempts; without a database they are recorded later, and nobody is locked out."""
        while due:
            account, count = next(iter(due.items()))
            payload = {"account": account or "no account", "attempts": count}
            entry = Entry(
                at=self._now(),
                actor=self._server,
                kind=Event.SIGN_IN_REFUSED,
                model=NO_MODEL,
                payload=payload,
            )
            try:
                self._ledger.append(entry)
            except PerennialError:
                LOG.exception("refused sign-ins are not in the ledger yet")
                with self._lock:
                    self._sign_ins.not_reported(due)
                return
            del due[account]


def _is_loopback(address: str | None) -> bool:
    try:
        return address is None or ipaddress.ip_address(address).is_loopback
    except ValueError:  # a Unix socket
        return True
