"""Which files that a training depends on have changed since a commit."""

from __future__ import annotations

import shutil
import subprocess

from perennial import __version__, catalog
from perennial.adapters.checkout import changed_since, code_of, commit, provenance_of
from perennial.installation import HERE


def git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_only_what_a_training_depends_on_counts(tmp_path):
    git(tmp_path, "init", "--quiet")
    for name in ("src/a.py", "docs/b.md", "configs/models/m.yaml", "configs/models/other.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "-m", "first")
    first = commit(tmp_path)
    assert changed_since(tmp_path, tmp_path, first, "m") == []
    for name in ("docs/b.md", "configs/models/other.yaml"):
        (tmp_path / name).write_text("2")
    assert changed_since(tmp_path, tmp_path, first, "m") == []
    (tmp_path / "src/a.py").write_text("2")
    git(tmp_path, "commit", "-am", "second")
    (tmp_path / "configs/models/m.yaml").write_text("2")
    assert changed_since(tmp_path, tmp_path, first, "m") == ["configs/models/m.yaml", "src/a.py"]
    assert changed_since(tmp_path, tmp_path, "f" * 40, "m") is None


def test_a_project_beside_the_package_names_both(tmp_path):
    project, package = tmp_path / "mine", tmp_path / "package"
    (project / "models").mkdir(parents=True)
    package.mkdir()
    git(project, "init", "--quiet")
    git(project, "commit", "--allow-empty", "-m", "first")
    first = commit(project)
    code = code_of(project, package, "m")
    assert code == f"{first} on perennial {__version__}"
    assert changed_since(project, package, code, "m") == []
    assert changed_since(project, package, f"{first} on perennial 0.0.1", "m") == [
        f"the package itself (perennial 0.0.1, now perennial {__version__})"
    ]
    (project / "models" / "m.py").write_text("1")  # in no commit
    assert code_of(project, package, "m") == f"{first}+dirty on perennial {__version__}"


def test_the_feature_hash_covers_the_views_that_a_spec_uses(tmp_path):
    for folder in ("configs/features", "feature_repo"):
        shutil.copytree(HERE / folder, tmp_path / folder)
    shutil.copy(HERE / "constraints.txt", tmp_path)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "-m", "first")
    spec = catalog.spec("test_failure_predictor")
    views = tmp_path / "configs" / "features"

    def features() -> str:
        return provenance_of(tmp_path, tmp_path, spec).features

    first, suite = features(), views / "agent_context_features.yaml"
    shutil.copy(suite, views / "of_another_model.yaml")
    (tmp_path / "feature_repo" / "of_another_model.py").write_text("nonsense")
    suite.write_text(suite.read_text().replace("description: ", "description: all "))
    assert features() == first
    suite.write_text(suite.read_text().replace("suite_cycle_size: float", "suite_cycle_size: int"))
    second = features()
    assert second != first
    on_demand = tmp_path / "feature_repo" / "request_features.py"
    on_demand.write_text(on_demand.read_text() + "\n")
    assert features() not in (first, second)
