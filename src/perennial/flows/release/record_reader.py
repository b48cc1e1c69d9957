"""Read what the record calls for of many models at once: a few questions a pass, however many models there are."""

from __future__ import annotations

from collections.abc import Iterable

from perennial.core.events import Entry
from perennial.core.governance.ledger import GENESIS
from perennial.core.governance.out_of_use import OUT_OF_USE
from perennial.core.release.recorded_route import CHAMPIONS, champion_route, recorded_routes
from perennial.core.release.status import ReleaseStatus
from perennial.flows.release.recorded_route import RecordedRoutePorts

KINDS = (*CHAMPIONS, *OUT_OF_USE)


class RecordReader:
    """Reader of what ledger and releases call for. The ledger only grows: a pass reads on where the last one ended."""

    def __init__(self, ports: RecordedRoutePorts) -> None:
        self._ports = ports
        self._forget()

    def suspects(self, models: Iterable[str]) -> list[str]:
        """Return the models whose live route the record does not seem to allow.

        The traffic may move between the questions: `compare_with_record` then decides about such a model alone.
        """
        # In this order: the route moves before the record does, and a release ends with its entry.
        lives = {model: self._ports.router.route(model) for model in models}
        rollbacks = self._ports.journal.pending()
        active: dict[str, list[ReleaseStatus]] = {}
        for release in self._ports.releases.active():
            active.setdefault(release.model, []).append(release)
        self._read_on()
        suspects = []
        for model, live in lives.items():
            champion = champion_route(
                self._champions.get(model), self._won(model), self._taken_out.get(model, set())
            )
            allowed = recorded_routes(
                champion,
                active.get(model, []),
                [rollback for rollback in rollbacks if rollback.model == model],
            )
            if live not in allowed and not (live is None and champion is None):
                suspects.append(model)
        return suspects

    def _forget(self) -> None:
        self._end = (0, GENESIS)
        self._champions: dict[str, Entry] = {}
        self._taken_out: dict[str, set[str | None]] = {}
        self._winners: dict[str, ReleaseStatus] = {}

    def _read_on(self) -> None:
        ledger, known = self._ports.ledger, self._end
        end = ledger.end()
        if end == known:
            return
        rows = ledger.rows(after=known[0] - 1) if known[0] else ledger.rows(kinds=KINDS)
        if known[0] and (not rows or (rows[0].seq, rows[0].hash) != known):
            self._forget()  # another ledger is in its place, as after a restored backup
            rows = ledger.rows(kinds=KINDS)
        for entry in (row.entry for row in rows):
            if entry.kind in CHAMPIONS:
                self._champions[entry.model] = entry
            elif entry.kind in OUT_OF_USE:
                self._taken_out.setdefault(entry.model, set()).add(entry.digest)
        self._end = end  # rows that came meanwhile are read again, which changes nothing

    def _won(self, model: str) -> ReleaseStatus | None:
        """Return the release that made the champion of a model; it has ended, so it is read once."""
        entry = self._champions.get(model)
        if entry is None or entry.release_id is None:
            return None
        won = self._winners.get(model)
        if won is None or won.release_id != entry.release_id:
            won = self._ports.releases.load(entry.release_id)
            if won is not None:
                self._winners[model] = won
        return won
