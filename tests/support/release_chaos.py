"""What may happen to releases: crowds of people and outages, and a kill after any effect."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from perennial.core.governance.ledger import verify
from perennial.core.release.approval import Risk
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.core.release.traffic import Route
from perennial.core.release_spec import Strategy
from perennial.errors import PerennialError
from perennial.flows.release.served_files import current_seal
from perennial.serving.manifest import MANIFEST_FILE

MODEL = "test_failure_predictor"
DAY = 24 * 3600

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(list(IntentKind))),
        st.tuples(st.just("pass"), st.sampled_from([2, 3600, 12 * 3600, 40 * 3600, 10 * DAY])),
        st.tuples(st.just("serve"), st.sampled_from([(0, 0), (30, 300), (400, 4000), (6000, 6000)])),
        st.tuples(st.just("errors"), st.sampled_from([1, 40])),
        st.tuples(st.just("candidate"), st.booleans()),
        st.just(("candidate that fails", False)),
        st.just(("edit the manifest", None)),
        st.tuples(st.just("strategy"), st.sampled_from(list(Strategy))),
        st.tuples(st.just("flip"), st.sampled_from(["registry", "router", "canary", "stable", "slow"])),
    ),
    max_size=40,
)


def edit_manifest(world, ref) -> None:
    """Somebody edits the served files of a version: another decision threshold each time."""
    path = world.ports.files / ref.digest / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"threshold": manifest["threshold"] / 2}))


class Crowd:
    """Does what the steps say to a world; every tool may be down meanwhile."""

    def __init__(self, world) -> None:
        self.world = world
        self.versions = 0
        self._watch_traffic()

    def _watch_traffic(self) -> None:
        """At the very moment a route is applied, each digest in it must be gated and approved."""
        real = self.world.router.apply

        def checked(route: Route, *expected) -> None:
            for target in filter(None, (route.stable, route.canary)):
                status = self.world.store.releases.load(target.release_id)
                assert status is not None
                assert status.approved, f"{target} in phase {status.phase}"
                assert status.candidate.digest == target.digest
                if status.gate.risk is Risk.HIGH:
                    people = {one.actor.casefold() for one in status.approvals}
                    assert len(people) >= status.approval_policy.high_risk
                    assert not people & {"policy", "mlflow", "ann"}, "ann asks for every release"
                assert {one.seal for one in status.approvals} == {status.gate.seal}
                live = self.world.router.route(MODEL)
                if live is None or target not in (live.stable, live.canary):
                    self._check_approvals_hold(status)
                if status.policy.strategy is Strategy.SHADOW_ONLY:
                    assert (target, route.canary_weight) == (route.canary, 0), "it answers nobody"
            real(route, *expected)

        self.world.router.apply = checked

    def _check_approvals_hold(self, status) -> None:
        """When a candidate gets its first traffic, it is what was approved, and not too long ago."""
        now, keep = self.world.now, status.approval_policy.lapses_after
        assert all(now - one.at <= keep for one in status.approvals)
        assert current_seal(status.candidate, self.world.ports) == status.gate.seal

    def do(self, step) -> None:
        world, (verb, value) = self.world, step
        found = world.store.releases.latest(MODEL)
        try:
            if verb == "candidate":
                self.versions += 1
                world.versions.add(f"1.{self.versions}.0", architecture="new" if value else "mlp")
                world.start()
            elif verb == "candidate that fails":
                self.versions += 1
                world.versions.add(f"1.{self.versions}.0", data_checks="failed")
                world.start()
            elif verb == "edit the manifest" and found:
                edit_manifest(world, found[0].candidate)
            elif verb == "strategy":
                world.use(value.value)
            elif verb == "flip":
                self._flip(value)
            elif verb == "serve":
                world.serve(*value)
            elif verb == "errors":
                world.serve(value, 0, errors=value)
            elif verb == "say" and found:
                world.say(found[0], value)
            elif verb == "pass" and found:
                world.passes(found[0].release_id, 1, value)
        except PerennialError:
            pass  # told to a person; nothing may have gone wrong in the world
        self.check()

    def _flip(self, what: str) -> None:
        world = self.world
        if what == "registry":
            world.versions.down = not world.versions.down
        elif what == "router":
            world.router.down = not world.router.down
        elif what == "slow":
            digests = {one.ref.digest for one in world.versions.records.values()}
            world.pool.slow = set() if world.pool.slow else digests
        else:
            world.router.servers[what] = 0 if world.router.servers[what] else 1

    def check(self) -> None:
        store = self.world.store
        with_traffic = (Phase.SHADOW, Phase.CANARY, Phase.PROMOTING, Phase.ABORTING)
        holding = [one for one in store.releases.latest(MODEL) if one.phase in with_traffic]
        assert len(holding) <= 1, "two releases share traffic"
        self._check_superseded()
        assert verify(store.ledger.rows()) is None

    def _check_superseded(self) -> None:
        """Only what passed its gate takes traffic from another."""
        found = self.world.store.releases.latest(MODEL)
        for one in found:
            if one.phase is Phase.SUPERSEDED:
                later = [other for other in found if other.is_after(one) and other.gate is not None]
                assert any(other.gate.passed for other in later)

    def settle(self) -> None:
        """Everything is up again: every release comes to an end, and traffic fits it."""
        world = self.world
        world.versions.down = world.router.down = False
        world.router.servers.update(stable=2, canary=1)
        world.pool.slow = set()
        for one in world.store.releases.latest(MODEL):
            if not one.phase.is_final():
                world.say(one, IntentKind.ABORT)
                world.passes(one.release_id, 4)
        ends = world.store.releases.latest(MODEL)
        assert all(one.phase.is_final() for one in ends)
        route = world.router.route(MODEL)
        champions = [one for one in ends if one.phase is Phase.SUCCEEDED]
        assert route is None or route.canary is None
        assert (route.stable.digest if route else None) == (
            champions[0].candidate.digest if champions else None
        )
        assert world.candidates() == []


class Killed(BaseException):
    """As SIGKILL: nothing below may catch it."""


class Effects:
    """Counts the calls that change the world outside, and kills once after the one asked for.

    Passes that save the same phase of a release again, with more evidence, count as the first of them.
    """

    def __init__(self, world, kill_at: int | None) -> None:
        self.kill_at = kill_at
        self._had: set[str] = set()
        for owner, names in (
            (world.pool, ("ensure", "drop")),
            (world.router, ("apply",)),
            (world.versions, ("alias", "tag")),
            (world.store.releases, ("save",)),
        ):
            for name in names:
                setattr(owner, name, self._counted(name, getattr(owner, name)))

    @property
    def count(self) -> int:
        return len(self._had)

    def _counted(self, name, real):
        def call(*args, **kwargs):
            done = real(*args, **kwargs)
            saved = name == "save"
            effect = f"{args[0].release_id} {args[0].phase} {args[0].step}" if saved else repr(args)
            before = self.count
            self._had.add(f"{name} {effect}")
            if before < self.count == self.kill_at:
                raise Killed
            return done

        return call

    def survive(self, work):
        try:
            return work()
        except Killed:
            return work()


def ends(world):
    store = world.store
    return {
        "phases": [one.phase for one in store.releases.latest(MODEL)],
        "route": world.router.route(MODEL),
        "aliases": dict(world.versions.aliases),
        "lifecycles": [one.tags.get("lifecycle") for one in world.versions.records.values()],
        "pools": {
            pool: sorted(ref.version for ref in world.pool.holds(pool)) for pool in ("stable", "canary")
        },
        "kinds": _kinds(store),
    }


def _kinds(store) -> list[list[str]]:
    """Per release: a repeated pass may be a pass ahead, so two releases may interleave otherwise."""
    rows = store.ledger.rows()
    releases = dict.fromkeys(row.entry.release_id for row in rows)
    return [[row.entry.kind for row in rows if row.entry.release_id == one] for one in releases]
