"""BentoBuilder: `bentoml build` over a folder with the service, its versions and the wheel of this package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from perennial.adapters.bentoml.requirements import OF_FEATURES, OF_SERVER, pinned
from perennial.core.version import VersionRef
from perennial.errors import ToolError
from perennial.serving import desired_state
from perennial.serving.desired_state import DesiredState, DesiredVersion
from perennial.serving.manifest import MANIFEST_FILE, ServedManifest
from perennial.serving.packed.folder import POOL, TRUSTED, VERSIONS


class BentoFolder:
    """BentoBuilder port; the bento goes into BentoML's own store (`BENTOML_HOME`).

    Args:
        service: folder of `service.py` and `bentofile.yaml`.
        trusted: folder of the public keys that the bento trusts.
        wheel: builds the wheel of this package into a folder.
    """

    def __init__(self, service: Path, trusted: Path, wheel: Callable[[Path], Path]) -> None:
        self._service, self._trusted, self._wheel = service, trusted, wheel

    def build(
        self, versions: Sequence[VersionRef], fetch: Callable[[VersionRef, Path], object]
    ) -> tuple[str, Path]:
        """See `ports.BentoBuilder.build`."""
        with TemporaryDirectory(prefix="perennial-bento-") as name:
            folder = Path(name)
            context = folder / "context"
            shutil.copytree(self._service, context, ignore=shutil.ignore_patterns("__pycache__"))
            packed = context / VERSIONS
            reads_features = False
            for ref in versions:
                store = desired_state.version_folder(packed, ref.digest)
                store.mkdir(parents=True)
                fetch(ref, store)
                manifest = ServedManifest.model_validate_json((store / MANIFEST_FILE).read_bytes())
                reads_features |= manifest.feature_service is not None
            shutil.copytree(self._trusted, packed / TRUSTED, ignore=_all_but_keys)
            state = DesiredState(generation=1, models=tuple(map(DesiredVersion.of, versions)))
            desired_state.write(desired_state.state_file(packed, POOL), state)
            needed = (*OF_SERVER, *(OF_FEATURES if reads_features else ()))
            (context / "requirements.txt").write_text("\n".join(pinned(needed)) + "\n")
            bentofile = context / "bentofile.yaml"
            options = yaml.safe_load(bentofile.read_text(encoding="utf-8"))
            wheel = Path(shutil.copy2(self._wheel(folder), context))  # BentoML takes none from outside
            options["python"]["wheels"] = [wheel.name]
            bentofile.write_text(yaml.safe_dump(options))
            return self._bentoml(context, folder / "home")

    def _bentoml(self, context: Path, home: Path) -> tuple[str, Path]:
        """Run `bentoml build` in a process of its own, since it imports the service; returns tag and folder."""
        variables = {**os.environ, "PERENNIAL_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
        code = "import sys, bentoml; b = bentoml.bentos.build_bentofile(build_ctx='.'); print(b.tag, b.path, sep='\\n')"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=context, env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ToolError(
                f"bentoml build failed: {done.stderr.strip()[-500:]}",
                hint="see BENTOML_HOME, and whether the disk is full",
            )
        tag, path = done.stdout.splitlines()[-2:]
        return tag, Path(path)


def _all_but_keys(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".pub")]
