"""Growing delays after failed sign-ins, per account and per address. Pure; time and proofs are passed in.

An account has ALLOWED failures, then each further attempt waits twice as long as the one before, up to LONGEST. An
attempt counts as failed when it begins, so that attempts at the same time count, too. LONGEST is short: passwords have
at least 12 characters, so 20 guesses a minute are harmless, while a long delay locks out honest people.

The passwords that the server knows when it starts, and the last with which somebody signed in, are not delayed, or
whoever guesses would keep the others out. After COMPARED guesses at an account in a second no more attempts are
compared with them: that many guesses a second would take longer than the age of the universe for a password that was
made by us.

Names that are no account share one count, and addresses beyond KEPT are forgotten, so the memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

ALLOWED = 10
"""Failed attempts of an account without a delay."""
ALLOWED_ADDRESS = 100
"""Failed attempts of an address, over all accounts, without a delay; loopback has no such limit."""
LONGEST = 3.0
"""Longest delay in seconds."""
COMPARED = 100
"""Guesses at an account in a second after which its known password is delayed like them."""
FORGOTTEN = 900.0
"""Seconds without an attempt after which failures are forgotten."""
KEPT = 1024
"""Addresses whose failures are kept."""
RECORD_EVERY = 60.0
"""Seconds between two reports of the same account's failures."""
NO_ACCOUNT = ""
"""Stands for every name that is no account."""


@dataclass
class Failures:
    """Attempts that did not end well, and when the last of them began."""

    count: int = 0
    last: float = 0.0

    def wait(self, allowed: int, now: float) -> float:
        """Return the seconds until the next attempt."""
        if now - self.last > FORGOTTEN:
            self.count = 0
        if self.count < allowed:
            return 0.0
        delay = min(LONGEST, 2.0 ** min(self.count - allowed, 10))
        return max(0.0, self.last + delay - now)

    def add(self, now: float) -> None:
        self.count, self.last = self.count + 1, now


@dataclass
class Unreported:
    """Refused attempts that no report names yet."""

    count: int = 0
    reported: float | None = None


class SignIns:
    """Failures of the accounts and addresses of a server. Not safe for threads: its user holds a lock."""

    def __init__(self) -> None:
        self._accounts: dict[str, Failures] = {}
        self._addresses: OrderedDict[str, Failures] = OrderedDict()
        self._good: dict[str, bytes] = {}
        self._guesses: dict[str, tuple[int, int]] = {}
        self._unreported: dict[str, Unreported] = {}

    def begin(self, account: str, address: str | None, proof: bytes, now: float) -> float:
        """Begin an attempt, or return the seconds to wait before the next.

        Args:
            account: NO_ACCOUNT for a name that is none.
            address: None for an address that many share.
            proof: hash of the password by a key of the server.
        """
        second, guesses = self._guesses.get(account, (0, 0))
        guesses = guesses if second == int(now) else 0
        if self._good.get(account) != proof:
            # Only guesses are counted: whoever knows the password may ask as often as work needs.
            self._guesses[account] = int(now), guesses + 1
        elif guesses < COMPARED:
            return 0.0
        of_account = self._accounts.setdefault(account, Failures())
        of_address = self._of(address) if address is not None else Failures()
        wait = max(of_account.wait(ALLOWED, now), of_address.wait(ALLOWED_ADDRESS, now))
        if wait > 0.0:
            self._refuse(account)
            return wait
        of_account.add(now)
        of_address.add(now)
        return 0.0

    def know(self, account: str, proof: bytes) -> None:
        """Take a password as known, as if somebody had signed in with it."""
        self._good[account] = proof

    def accepted(self, account: str, address: str | None, proof: bytes) -> None:
        """End an attempt with the right password."""
        if self._good.get(account) == proof:
            return
        self._good[account] = proof
        self._accounts.pop(account, None)
        if address is not None and address in self._addresses:
            self._addresses[address].count = max(0, self._addresses[address].count - 1)

    def refused(self, account: str, proof: bytes) -> None:
        """End an attempt with a wrong password."""
        if self._good.get(account) == proof:  # the password was changed
            del self._good[account]
        self._refuse(account)

    def due(self, now: float) -> dict[str, int]:
        """Return the refused attempts by account that are to be reported now, and take them as reported."""
        failures = {}
        for account, open_ in self._unreported.items():
            if open_.count and (open_.reported is None or now - open_.reported >= RECORD_EVERY):
                failures[account] = open_.count
                open_.count, open_.reported = 0, now
        return failures

    def not_reported(self, counts: dict[str, int]) -> None:
        """Take back what `due` returned: it could not be recorded."""
        for account, count in counts.items():
            self._unreported[account].count += count

    def _refuse(self, account: str) -> None:
        self._unreported.setdefault(account, Unreported()).count += 1

    def _of(self, address: str) -> Failures:
        failures = self._addresses.setdefault(address, Failures())
        self._addresses.move_to_end(address)
        while len(self._addresses) > KEPT:
            self._addresses.popitem(last=False)
        return failures
