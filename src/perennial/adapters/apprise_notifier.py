"""The Notifier port over apprise: mail, Slack, Teams, webhooks and many more, by address.

Addresses hold passwords, so they stay in this module. A channel's name is its number and service, and an error text
contains no part of the address except its host.
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
LIBRARIES = tuple(logging.getLogger(name) for name in ("urllib3", "requests_oauthlib", "oauthlib"))
"""Loggers of the libraries that apprise sends with; they log addresses."""
SHORTEST_SECRET = 3
WEB = (80, 443)
PORTS = {"NotifyEmail": (25, 587), "NotifyJSON": WEB, "NotifyXML": WEB, "NotifyForm": WEB}
"""apprise's plugins whose address names their server: default ports without and with encryption."""


class AppriseNotifier:
    """Notifier with one channel per address.

    Args:
        addresses: apprise URLs: https://github.com/caronc/apprise/wiki.

    Raises:
        SettingsError: apprise does not understand an address; the message has only its number.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._services: dict[str, tuple[Apprise, str]] = {}
        for number, address in enumerate(addresses, start=1):
            service = Apprise()
            with _warnings():
                understood = service.add(address)
            if not understood:
                raise SettingsError(
                    f"PERENNIAL_NOTIFY: apprise does not know address {number}",
                    hint="mailtos://user:password@host?to=..., slack://..., json://host/path; blanks between",
                )
            self._services[f"{number}-{urlsplit(address).scheme}"] = (service, address)

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self._services)

    def servers(self) -> dict[str, tuple[str, int] | None]:
        """Return host and port of each channel that is a mail server or webhook; None for services, which apprise
        knows by itself and whose host may be a token."""
        return {channel: _server(service) for channel, (service, _) in self._services.items()}

    def send(self, channel: str, notice: Notice) -> None:
        service, address = self._services[channel]
        with _warnings() as warned:
            done = service.notify(title=notice.title, body=notice.body, body_format=NotifyFormat.TEXT)
        if not done:
            why = masked(" ".join(warned), address) or "apprise gave no reason"
            raise NotDelivered(f"{channel}: {why}", hint="perennial notify status, perennial notify test")


def _server(service: Apprise) -> tuple[str, int] | None:
    (plugin,) = service
    defaults = PORTS.get(type(plugin).__name__)
    if defaults is None:
        return None
    host = getattr(plugin, "smtp_host", "") or plugin.host
    return host, plugin.port or defaults[bool(plugin.secure)]


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Yield a list that collects apprise's warnings. All its logging is muted, because it quotes addresses."""
    warnings: list[str] = []
    keep = _Keep(warnings)
    with ExitStack() as muted:
        muted.enter_context(_only(APPRISE, keep))
        for log in LIBRARIES:
            muted.enter_context(_only(log, logging.NullHandler()))
        yield warnings


class _Keep(logging.Handler):
    def __init__(self, warnings: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._warnings = warnings

    def emit(self, record: logging.LogRecord) -> None:
        self._warnings.append(record.getMessage())


@contextmanager
def _only(log: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    """Send the records of a logger and its children to this handler alone."""
    before = log.handlers, log.propagate
    log.handlers, log.propagate = [handler], False
    try:
        yield
    finally:
        log.handlers, log.propagate = before


def masked(text: str, address: str) -> str:
    """Return the text without user, password, path and query values of the address."""
    parts = urlsplit(address)
    secrets = {parts.username or "", parts.password or "", *parts.path.split("/"), parts.fragment}
    secrets |= {value for _, value in parse_qsl(parts.query)}
    secrets |= {unquote(secret) for secret in secrets}
    # Some services put their token in the place of the host.
    if "." not in (parts.hostname or "") and parts.hostname != "localhost":
        secrets |= {parts.hostname or "", parts.netloc}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)
    return text.strip()
