"""Training steps as a third Unix account: the runner, whom it serves, what it runs, and what its steps reach."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign.training_accounts import ACCOUNTS, MODEL, RUN, SERVER, Runner, as_account, project
from pydantic import ValidationError
from serving_stack import until

from perennial import files
from perennial.core.assets import Reason
from perennial.errors import NotAllowed
from perennial.local import training_runner, unix_accounts
from perennial.settings import Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes as others"),
]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """A project folder and a state folder that other accounts can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="perennial-training-"))
    folder.chmod(0o755)
    project(folder)
    started = Runner(
        Settings(project=folder, home=folder / "state", unix_accounts=ACCOUNTS, database_url=SERVER)
    )
    yield started
    started.process.terminate()
    started.process.wait(timeout=10)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def probed(runner: Runner) -> str:
    """The output of a step whose code tries every path; the step itself goes on."""
    settings = runner.settings
    files.write_text(settings.mlflow_dir / "auth.db", "passwords", files.PRIVATE)
    os.chown(settings.mlflow_dir / "auth.db", 1, 1)
    paths = [*foreign(settings), *shown(settings), *own(settings), settings.state / "keys"]
    assert [path for path in paths if not path.exists()] == []
    (settings.project / "paths").write_text("\n".join(map(str, paths)))
    code, output = runner.ask("prepare", "probe")
    assert code == 0, output
    return output


def foreign(settings: Settings) -> list[Path]:
    """What is the other accounts' and root's."""
    state, secrets = settings.state, settings.state / "secrets"
    of_training = (*unix_accounts.OF_TRAINING, *unix_accounts.SHARED, "history", "keys")
    return [
        *sorted(path for path in secrets.rglob("*") if "training" not in path.parts), secrets,
        state, state / "logs", state / "accounts.json", state / "secrets.json",
        settings.mlflow_dir, settings.mlflow_dir / "auth.db",
        settings.airflow_dir / "sessions.cfg", settings.airflow_dir / "passwords.json",
        *(state / name for name in unix_accounts.FOLDERS if name not in of_training),
    ]  # fmt: skip


def shown(settings: Settings) -> list[Path]:
    """What trainings only read."""
    return [settings.history_dir, settings.trusted_keys_folder, settings.trusted_keys_folder / "signing.pub"]


def own(settings: Settings) -> list[Path]:
    """What trainings write, or only they read."""
    state = settings.state
    names = ("data", "optuna", "quarantine", "work", "tables", "downloads", "keys/signing.pem", "data.lock")
    return [
        state / "secrets" / "processes" / "training" / "accounts.json", settings.mlflow_dir / "artifacts",
        *(state / name for name in names),
    ]  # fmt: skip


def test_a_step_runs_as_the_account_that_trains_and_the_asker_reads_what_it_leaves(runner, probed):
    assert probed.splitlines()[0] == "uid 5 groups []"
    assert "data revision" in probed
    work = runner.work("probe")
    assert {path.owner() for path in work.rglob("*")} == {"games"}
    script = f"cat {work}/*.parquet >/dev/null && touch {work}/registered.json"
    subprocess.run(as_account("nobody", "027", "sh", "-c", script), check=True)


@pytest.mark.parametrize("order", [("nobody", "games"), ("games", "nobody")])
def test_two_accounts_write_one_table_whoever_began_it(runner, order):
    table_dir = runner.settings.tables_dir / f"by-{order[0]}"
    script = (
        "import sys; from pathlib import Path; from perennial.adapters.tables.stored_table import StoredTable\n"
        "import pyarrow as pa\n"
        "table = StoredTable(Path(sys.argv[1]))\n"
        "with table.writing(): table.add(pa.table({'x': [1]}), {'by': sys.argv[2]})\n"
        "print([note['by'] for note in table.notes()])"
    )
    for account, umask in zip(order, ("027", "077"), strict=True):
        line = as_account(account, umask, sys.executable, "-c", script, str(table_dir), account)
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(list(order))


def test_only_trainings_sign_and_only_others_publish(runner):
    state = runner.settings.state
    key, features = state / "keys" / "signing.pem", state / "feast"
    for account, path in (("nobody", key), ("daemon", key), ("games", features)):
        done = subprocess.run(as_account(account, "077", "cat", str(path)), capture_output=True, check=False)
        assert b"Permission denied" in done.stderr, (account, path)


def test_code_of_a_training_reaches_nothing_of_the_other_accounts(runner, probed):
    settings = runner.settings
    assert len(foreign(settings)) > 25
    reached = {line for line in probed.splitlines() if line.startswith(("reads", "writes"))}
    expected = {f"{how} {path}" for path in own(settings) for how in ("reads", "writes")}
    assert reached == expected | {f"reads {path}" for path in shown(settings)}
    roles = (settings.state / "secrets" / "processes" / "training" / "accounts.json").read_text()
    assert ("training" in roles, "release" in roles, "admin" in roles) == (True, False, False)


def test_the_asker_escapes_what_a_training_prints_and_ends_with_the_step(probed):
    """A process that the step left behind prints on."""
    assert "\\x1b[2Jdone" in probed
    assert "\x1b" not in probed


def test_a_step_that_fails_ends_as_it_ends(runner):
    code, output = runner.ask("prepare", "wrong")
    assert (code, "cannot import" in output) == (10, True), output


@pytest.mark.parametrize(
    ("step", "model", "workdir", "words"),
    [
        ("prepare", "unknown", "work/unknown/" + RUN, "no model is named"),
        ("prepare", MODEL, "work/slow/" + RUN, "is no work folder"),
        ("prepare", MODEL, f"work/{MODEL}/../../history/{RUN}", "is no work folder"),
        ("prepare", MODEL, f"work/{MODEL}/short", "is no work folder"),
        ("prepare", MODEL, f"work/{MODEL}/{RUN}\n", "is no work folder"),
        ("clear_work", MODEL, "history", "is not the work folder"),
    ],
)
def test_foreign_models_and_folders_are_refused(runner, step, model, workdir, words):
    request = training_runner.TrainingRequest(
        step=step, model=model, workdir=f"{runner.settings.state}/{workdir}"
    )
    with pytest.raises(NotAllowed, match=words):
        training_runner.command(request, runner.settings)
    said: list[str] = []
    with pytest.raises(NotAllowed):  # root is not the caller either
        training_runner.ask(runner.settings, request, said.append)
    assert said == []


def test_a_foreign_folder_is_refused_by_the_runner(runner):
    code, output = runner.ask("prepare", MODEL, runner.work("slow"))
    assert (code, "is no work folder of a run" in output) == (82, True), output


def test_a_foreign_step_is_refused(runner):
    work = runner.work(MODEL)
    code, output = runner.ask("register", MODEL)
    assert (code, "is not one of" in output) == (2, True), output
    request = training_runner.TrainingRequest.model_construct(step="register", model=MODEL, workdir=str(work))
    with pytest.raises(ValidationError):
        training_runner.TrainingRequest.model_validate_json(request.model_dump_json())


def test_a_validation_through_the_runner_publishes_nothing(runner):
    request = training_runner.TrainingRequest(
        step="validate",
        model=MODEL,
        workdir=str(runner.work(MODEL)),
        reason=Reason.DRIFT,
        text="drift; $(id)",
    )
    arguments, environment = training_runner.command(request, runner.settings)
    assert arguments[-1] == "--no-publish"
    assert environment == {"PERENNIAL_REASON": "drift", "PERENNIAL_REASON_TEXT": "drift; $(id)"}


def test_nobody_else_asks(runner):
    code, output = runner.ask("prepare", MODEL, account="daemon")
    assert (code, "Permission denied" in output) == (50, True), output
    # The account that trains may enter the folder: the runner looks at who asks.
    code, output = runner.ask("prepare", MODEL, account="games")
    assert (code, "may not ask" in output) == (82, True), output


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_step_ends_with_the_process_that_watches_it(runner, end):
    """`perennial local down` sends SIGTERM; after SIGKILL the kernel ends the step, and its child by itself."""
    asker, (step, child) = slow_step(runner)
    watcher = int(Path("/proc", step, "stat").read_text().rpartition(")")[2].split()[1])
    os.kill(watcher, end)
    gone = (step, child) if end == signal.SIGTERM else (step,)
    until(lambda: not any(alive(pid) for pid in gone), 10, "the end of the step")
    output, _ = asker.communicate(timeout=30)
    assert (asker.returncode, "ended before the step" in output) == (50, True), output
    if end == signal.SIGKILL:
        os.kill(int(child), end)


def test_a_killed_asker_ends_the_step_with_its_children(runner):
    asker, pids = slow_step(runner)
    asker.kill()
    asker.communicate()
    until(lambda: not any(alive(pid) for pid in pids), 10, "the end of the step")


def slow_step(runner: Runner) -> tuple[subprocess.Popen[str], list[str]]:
    """Whoever asks for a step that takes long, and the ids of its process and its child."""
    pids = runner.settings.state / "work" / "pids"
    pids.unlink(missing_ok=True)
    asker = runner.asking("prepare", "slow", runner.work("slow"))
    until(lambda: pids.is_file() and " " in pids.read_text(), 60, "the step")
    found = pids.read_text().split()
    assert all(alive(pid) for pid in found)
    return asker, found


def alive(pid: str) -> bool:
    status = Path("/proc", pid, "stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
