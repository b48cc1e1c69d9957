"""`perennial data` as a person uses it: what it says, and the exit code of each thing that goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from perennial import errors
from perennial.cli import main

ROOT = Path(__file__).resolve().parents[2]
REPORT = (
    '<testsuite name="s" timestamp="2025-01-01T08:00:00">'
    '<testcase classname="c" name="t" time="1"><failure/></testcase></testsuite>'
)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command in a state folder of its own, where nothing is reached over the network."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    path = tmp_path / "configs" / "datasets.yaml"
    entries = yaml.safe_load(path.read_text())
    entries["iofrol"]["address"] = "http://127.0.0.1:1/iofrol.csv"
    path.write_text(yaml.safe_dump(entries))
    monkeypatch.setenv("PERENNIAL_PROJECT", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_HOME", "state")
    monkeypatch.delenv("PERENNIAL_DATA_MIRROR", raising=False)

    def command(*arguments):
        code = main(["data", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def test_bootstrap_says_what_and_why_and_leaves_a_full_history_alone(run, tmp_path):
    code, out, _ = run("bootstrap")
    assert code == 0
    assert "source: simulator (seed 7)" in out
    assert "real data could not be had: iofrol: http://127.0.0.1:1/iofrol.csv cannot be had" in out
    recorded = json.loads((tmp_path / "state/history/ci/SOURCE.json").read_text())
    assert recorded["why"].startswith("real data could not be had")
    code, out, _ = run("bootstrap")
    assert (code, "0 executions added" in out) == (0, True)


def test_simulate_and_show(run):
    code, out, _ = run("simulate", "--cycles", 10, "--history", "sim")
    assert code == 0
    assert "planted: failure_rate from cycle 6" in out
    code, out, _ = run("show", "sim", "--json")
    figures = json.loads(out)
    assert (code, figures["cycles"], figures["source"]["source"]) == (0, 10, "simulator (seed 7)")
    code, out, _ = run("show", "sim")
    assert "failure rate" in out
    assert "sim" in json.loads(run("list", "--json")[1])["histories"]


def test_a_scenario_file_plants_its_own_drifts(run, tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text("cycles: 8\ndrifts:\n- {kind: duration, at_cycle: 4, strength: 3, share: 0.5}\n")
    code, out, _ = run("simulate", "--scenario", path)
    assert code == 0
    assert "planted: duration from cycle 4" in out
    path.write_text("cycels: 8\n")
    code, _, err = run("simulate", "--scenario", path)
    assert (code, "cycels" in err) == (errors.SpecError.exit_code, True)
    assert run("simulate", "--scenario", tmp_path / "no.yaml")[0] == errors.UsageError.exit_code


def test_import_junit_twice_is_once(run, tmp_path):
    report = tmp_path / "reports" / "r.xml"
    report.parent.mkdir()
    report.write_text(REPORT)
    assert "1 executions added, up to cycle 1" in run("import-junit", report.parent)[1]
    code, out, _ = run("import-junit", report)
    assert code == 0
    assert "0 new reports, 1 known already" in out


def test_import_takes_the_rest_and_names_what_it_could_not_read(run, tmp_path):
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "good.xml").write_text(REPORT)
    (reports / "pom.xml").write_text("<project/>")
    code, _, err = run("import-junit", reports, "--strict")
    assert (code, "pom.xml:1: the root is <project>" in err) == (errors.MalformedInput.exit_code, True)
    assert run("show", "ci")[0] == errors.DatasetMissing.exit_code, "--strict imports nothing"
    code, out, _ = run("import-junit", reports)
    assert (code, "1 executions added" in out) == (0, True)
    assert f"not read: {reports / 'pom.xml'}:1: the root is <project>" in out
    code, out, _ = run("import-junit", reports)
    assert (code, "0 new reports, 1 known already" in out) == (0, True)


def test_import_with_the_zone_of_the_ci(run, tmp_path):
    report = tmp_path / "r.xml"
    report.write_text(REPORT)
    code, _, err = run("import-junit", report, "--timezone", "Europe/Berln")
    assert (code, "Europe/Berln" in err) == (errors.UsageError.exit_code, True)
    assert run("import-junit", report, "--timezone", "Asia/Tokyo")[0] == 0
    assert json.loads(run("show", "ci", "--json")[1])["first_start"] == "2024-12-31T23:00:00+00:00"


def test_a_report_of_a_suite_that_does_not_compile_is_no_test(run, tmp_path):
    report = tmp_path / "r.xml"
    report.write_text(
        '<testsuite timestamp="2025-01-01T08:00:00"><error message="cannot compile"/></testsuite>'
    )
    code, _, err = run("import-junit", report)
    assert (code, "1 suites failed without a test" in err) == (errors.DatasetMissing.exit_code, True)


def test_each_error_has_its_exit_code_and_a_hint(run, tmp_path, monkeypatch):
    broken = tmp_path / "broken.xml"
    broken.write_text("<testsuite")
    for arguments, error, named in [
        (("fetch", "iofrl"), errors.DatasetMissing, "did you mean iofrol?"),
        (("fetch", "iofrol"), errors.DatasetMissing, "PERENNIAL_DATA_MIRROR"),
        (("ingest", "nasa_mdp_jm1"), errors.UsageError, "is no CI history"),
        (("import-junit", broken), errors.MalformedInput, "broken.xml:1"),
        (("import-junit", tmp_path / "nowhere"), errors.DatasetMissing, "no JUnit XML"),
        (("show", "ci"), errors.DatasetMissing, "perennial data bootstrap"),
        (("show", "../ci"), errors.UsageError, "no name for a history"),
        (("bootstrap", "--source", "iofrol"), errors.DatasetMissing, "cannot be had"),
        (("bootstrap", "--source", "oracle"), errors.UsageError, "oracle"),
    ]:
        code, _, err = run(*arguments)
        assert (code, named in err) == (error.exit_code, True), (arguments, code, err)
    (tmp_path / "mirror/iofrol").mkdir(parents=True)
    (tmp_path / "mirror/iofrol/iofrol.csv").write_text("not the data set")
    monkeypatch.setenv("PERENNIAL_DATA_MIRROR", str(tmp_path / "mirror"))
    code, _, err = run("ingest", "iofrol")
    assert code == errors.ChecksumMismatch.exit_code
    assert "1d7fe841" in err
    assert run("show", "ci")[0] == errors.DatasetMissing.exit_code, "nothing was changed"
