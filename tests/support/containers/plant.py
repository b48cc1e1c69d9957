"""The state folder of a plant, from which cells are exported; nothing runs."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from signing import FOLDER
from tiny_models import tiny_version

from perennial.adapters.envoy import state as envoy_state
from perennial.core.release.traffic import Route, Target
from perennial.serving import desired_state
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.desired_state import DesiredVersion
from perennial.settings import Settings


class Plant:
    """The state folder of a plant that serves tiny versions; nothing runs."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(project=folder, home=folder / "state", trusted_keys=FOLDER)
        self._folder = folder / "made"

    def serve(self, model: str, **more) -> Target:
        ref, made = tiny_version(self._folder, model, "1.0.0", 0.0, more.pop("service", None))
        store = desired_state.version_folder(self.settings.serving_dir, ref.digest)
        shutil.copytree(made, store)
        path = desired_state.state_file(self.settings.serving_dir, "stable")
        desired_state.write(path, desired_state.read(path).with_version(DesiredVersion.of(ref)))
        target = Target(version=ref.version, digest=ref.digest, release_id="r1")
        routes = self.settings.envoy_dir / "routes.json"
        route = Route(model=model, stable=target, **more)
        envoy_state.write(routes, envoy_state.read(routes).with_route(route))
        return target

    def add_key(self) -> str:
        from perennial.core.governance.client_keys import Right
        from perennial.flows.governance.client_keys import add_key

        class Nobody:
            def append(self, *_args, **_more):
                return None

        text = add_key(
            "first", [Right.PREDICT], (), None, "test", ClientKeys(self.settings.client_keys), Nobody(),
            datetime.now(UTC), lambda size: "ab" * size, taken={},
        )  # fmt: skip
        return text.split()[-1]
