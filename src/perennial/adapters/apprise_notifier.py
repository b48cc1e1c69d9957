"""The Notifier port over apprise: mail, Slack, Teams, webhooks and a hundred more, by address.

Addresses hold passwords. They stay in this module: a channel's name is its number and service, and what
apprise says of a failure is told without any part of the address but its host.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import parse_qsl, unquote, urlsplit

from apprise import Apprise, NotifyFormat

from perennial.core.governance.notices import Notice
from perennial.errors import NotDelivered, SettingsError

APPRISE = logging.getLogger("apprise")
UNDER_IT = tuple(logging.getLogger(name) for name in ("urllib3", "requests_oauthlib", "oauthlib"))
"""What apprise sends with; they log the addresses that they ask."""
SHORTEST_SECRET = 3


class AppriseNotifier:
    """
    Args:
        addresses: apprise URLs, one a channel: https://github.com/caronc/apprise/wiki.

    Raises:
        SettingsError: apprise does not understand one; it is named by its number only.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._services: dict[str, tuple[Apprise, str]] = {}
        for number, address in enumerate(addresses, start=1):
            service = Apprise()
            with _warnings():
                understood = service.add(address)
            if not understood:
                raise SettingsError(
                    f"PERENNIAL_NOTIFY: address {number} is none that apprise knows",
                    hint="mailtos://user:password@host?to=..., slack://..., json://host/path; blanks between",
                )
            self._services[f"{number}-{urlsplit(address).scheme}"] = (service, address)

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self._services)

    def send(self, channel: str, notice: Notice) -> None:
        service, address = self._services[channel]
        with _warnings() as warned:
            done = service.notify(title=notice.title, body=notice.body, body_format=NotifyFormat.TEXT)
        if not done:
            why = masked(" ".join(warned), address) or "apprise gave no reason"
            raise NotDelivered(f"{channel}: {why}", hint="perennial notify status, perennial notify test")


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What apprise warns of meanwhile. It and what it sends with are kept from every log: they quote addresses."""
    found: list[str] = []
    keep = _Keep(found)
    with ExitStack() as muted:
        muted.enter_context(_only(APPRISE, keep))
        for log in UNDER_IT:
            muted.enter_context(_only(log, logging.NullHandler()))
        yield found


class _Keep(logging.Handler):
    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(record.getMessage())


@contextmanager
def _only(log: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    """Everything logged there and below goes to this handler alone."""
    before = log.handlers, log.propagate
    log.handlers, log.propagate = [handler], False
    try:
        yield
    finally:
        log.handlers, log.propagate = before


def masked(text: str, address: str) -> str:
    """The text without the user, password, path and query values of the address."""
    parts = urlsplit(address)
    secrets = {parts.username or "", parts.password or "", *parts.path.split("/"), parts.fragment}
    secrets |= {value for _, value in parse_qsl(parts.query)}
    secrets |= {unquote(one) for one in secrets}
    # Some services put their token where a host would stand.
    if "." not in (parts.hostname or "") and parts.hostname != "localhost":
        secrets |= {parts.hostname or "", parts.netloc}
    for one in sorted(secrets, key=len, reverse=True):
        if len(one) >= SHORTEST_SECRET:
            text = re.sub(re.escape(one), "***", text, flags=re.IGNORECASE)
    return text.strip()
