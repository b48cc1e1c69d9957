"""`explain: true` in process: complete attributions, what is refused, and what a plain request still is."""

from __future__ import annotations

import asyncio
import itertools
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
import shap  # noqa: F401 loaded here, so that no test waits for it
from one_server import NOW, Server
from signing import FOLDER, TRUSTED
from tiny_models import tiny_version

from perennial.adapters.bentoml.pool import BentoPool
from perennial.core.training.attribution import Attributions
from perennial.errors import ExplanationNotReady
from perennial.serving import desired_state as desired
from perennial.serving import explanation, headers
from perennial.serving.attribution import shapley
from perennial.serving.explanation import Explanations

BACKGROUND = [[0.0, 0.5, -1.0, 0.25], [1.0, -0.5, 0.0, 0.75], [-0.25, 0.0, 0.5, 0.0]]


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "serving")
    server.hold(
        tiny_version(tmp_path, "tiny", "1.0.0", 0.0, service="tiny_service", background=BACKGROUND),
        tiny_version(tmp_path, "old", "1.0.0", 0.5, service="tiny_service"),
    )
    return server


def entities(count):
    return [{"test_id": "t1", "suite": str(number)} for number in range(count)]


def shapley_by_definition(score, background, row):
    """Over every set of features, with the weights of Shapley's formula."""
    size = len(row)
    values = np.zeros(size)
    for count in range(size):
        weight = math.factorial(count) * math.factorial(size - count - 1) / math.factorial(size)
        for known in itertools.combinations(range(size), count):
            for feature in set(range(size)) - set(known):
                with_, without = np.array(background), np.array(background)
                with_[:, [*known, feature]] = row[[*known, feature]]
                without[:, list(known)] = row[list(known)]
                values[feature] += weight * (score(with_).mean() - score(without).mean())
    return values


def missing_counts(rows):
    """A score that is no sum, and takes a missing value for something of its own."""
    filled = np.where(np.isnan(rows), 2.0, rows)
    return 1 / (1 + np.exp(-(filled[:, 0] * filled[:, 1] - filled[:, 2] + np.isnan(rows).sum(axis=1))))


def column(score):
    return lambda rows: score(rows)[:, None]


def test_attributions_are_shapley_values_also_of_missing_ones():
    rows = np.array([[1.0, np.nan, 0.5, 2.0], [0.0, 0.5, np.nan, np.nan]], dtype=np.float32)
    background = np.array([*BACKGROUND, [np.nan, 1.0, 0.0, np.nan]], dtype=np.float32)
    attributions = shapley(column(missing_counts), background, rows, coalitions=50, seed=0)
    wanted = [shapley_by_definition(missing_counts, background, row) for row in rows]
    assert np.allclose(attributions.values[:, :, 0], wanted, atol=1e-8)
    assert attributions.gap(column(missing_counts)(rows)) < 1e-9


def test_a_row_has_the_same_attributions_in_any_company_and_leaves_no_seed_behind():
    random = np.random.default_rng(1)
    weights, background, rows = (
        random.normal(size=12),
        random.normal(size=(5, 12)),
        random.normal(size=(3, 12)),
    )
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    score = column(lambda x: np.tanh(x @ weights))
    together = shapley(score, background, rows, coalitions=60, seed=3)
    assert np.random.random() == expected
    alone = shapley(score, background, rows[2:], coalitions=60, seed=3)
    assert np.array_equal(together.values[2:], alone.values)


def test_an_explained_answer_adds_up_to_its_scores(server):
    answer = server.predict(explain=True, entities=[*entities(1), {"test_id": "t2", "suite": "s"}])
    assert answer.status_code == 200, answer.text
    body = answer.json()
    explained = body["explanation"]
    assert (explained["of"], explained["background_rows"]) == ("score", 3)
    assert explained["gap"] <= explained["tolerance"] == 1e-5
    assert explained["ms"] > 0
    for prediction in body["predictions"]:
        assert set(prediction["attributions"]) == {"f0", "f1", "f2", "f3"}
        assert explained["base"] + sum(prediction["attributions"].values()) == pytest.approx(
            prediction["score"], abs=1e-5
        )
    plain = server.predict(explain=False).json()
    assert "explanation" not in plain
    assert set(plain["predictions"][0]) == {"prediction_id", "entity", "score", "decision"}


def test_explaining_is_no_part_of_the_logged_prediction(server, monkeypatch):
    work = explanation._work
    monkeypatch.setattr(explanation, "_work", lambda *given: (threading.Event().wait(0.3), work(*given))[1])
    server.predict(explain=True)
    server.predict()
    rows = server.log()
    assert list(rows["score"]) == [rows["score"].iloc[0]] * 2
    assert rows["at"].iloc[0].to_pydatetime() == NOW
    assert rows["latency_ms"].max() < 200


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"explain": "yes"}, "true or false"), ({"explain": True, "entities": entities(4)}, "at most 3")],
)
def test_what_cannot_be_explained_is_400_and_not_logged(server, changes, named):
    answer = server.predict(**changes)
    assert answer.status_code == 400
    assert named in answer.json()["error"] + answer.json()["hint"]
    assert len(server.log()) == 0


def test_a_version_without_background_says_so(server):
    body = {"entities": entities(1), "context": {"cycle_size": 1, "requested_at": 0}, "explain": True}
    answer = server.client.post("/v1/models/old/predict", json=body)
    assert answer.status_code == 400
    assert "train again" in answer.json()["hint"]


def test_a_mirrored_request_is_scored_only(server):
    (version,) = [
        version for version in server.host.versions.loaded.values() if version.wanted.model == "tiny"
    ]
    body = {"entities": entities(9), "context": {"cycle_size": 1, "requested_at": 0}, "explain": True}
    sent = {headers.SHADOW: "true", headers.DIGEST: version.wanted.digest}
    answer = server.client.post("/v1/models/tiny/predict", json=body, headers=sent)
    assert answer.status_code == 200
    assert "explanation" not in answer.json()


def test_attributions_that_do_not_add_up_are_never_given(server, monkeypatch):
    def off(score, background, rows, coalitions, seed, together):
        attributions = shapley(score, background, rows, coalitions, seed, together)
        attributions.values[0, 0] += 0.01
        return attributions

    monkeypatch.setattr(explanation, "shapley", off)
    answer = server.predict(explain=True)
    assert answer.status_code == 422
    assert "miss the score" in answer.json()["error"]
    assert len(server.log()) == 0


def test_a_changed_background_is_never_loaded(server, tmp_path):
    version = tiny_version(tmp_path, "other", "1.0.0", 2.0, service="tiny_service", background=BACKGROUND)
    (version[1] / "background.json").write_text('{"features": ["f0"], "rows": [[9]]}')
    server.hold(version)
    key = ("other", version[0].digest)
    assert key not in server.host.versions.loaded
    assert "background.json" in server.host.versions.errors[key]


def test_a_pool_brings_the_background_to_its_servers(tmp_path):
    ref, files = tiny_version(tmp_path, "tiny", "1.0.0", 0.0, background=BACKGROUND)
    BentoPool(tmp_path / "serving", "127.0.0.1", {"stable": [1]}, TRUSTED).ensure("stable", ref, files)
    stored = desired.version_folder(tmp_path / "serving", ref.digest)
    assert (stored / "background.json").read_bytes() == (files / "background.json").read_bytes()


def test_late_is_429_and_the_next_in_line_is_dropped(server, monkeypatch):
    (version,) = [
        version for version in server.host.versions.loaded.values() if version.wanted.model == "tiny"
    ]
    free, ran = threading.Event(), []
    monkeypatch.setattr(explanation, "_work", lambda *given: (ran.append(1), free.wait(10)))
    rows, scores = np.zeros((1, 4), dtype=np.float32), np.full(1, 0.5, dtype=np.float32)
    explanations = Explanations(patience=0.05)

    async def ask():
        return await asyncio.gather(
            *(explanations.explain(version, rows, scores) for _ in range(3)), return_exceptions=True
        )

    errors = asyncio.run(ask())
    free.set()
    assert [type(error) for error in errors] == [ExplanationNotReady] * 3
    explanations._thread.shutdown()
    assert len(ran) == 1


def test_status_and_header_of_a_late_one(server, monkeypatch):
    async def late(*_):
        raise ExplanationNotReady("not yet", hint="again")

    monkeypatch.setattr(Explanations, "explain", late)
    answer = server.predict(explain=True)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")


@pytest.mark.slow
def test_neither_loading_nor_explaining_imports_torch_and_a_plain_server_has_no_shap():
    script = (
        "import sys, numpy as np\n"
        "import perennial.serving.app\n"
        "assert 'shap' not in sys.modules\n"
        "from perennial.serving.attribution import shapley\n"
        "shapley(lambda x: x.sum(axis=1, keepdims=True), np.zeros((2, 3)), np.ones((1, 3)), 8, 0)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


READY = """
import sys
from pathlib import Path
from perennial.serving.bento import ServerParts
from perennial.settings import Settings

parts = ServerParts(Settings(home=sys.argv[1], trusted_keys=sys.argv[2]), "stable", None)
parts.host.converge()
assert parts.host.ready, parts.host.versions
print("shap" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("background", [BACKGROUND, ()])
def test_a_server_has_the_library_when_it_is_ready_if_it_needs_it(tmp_path, background):
    """The first explanation waited for the import for seconds, and was refused as late."""
    made = tiny_version(tmp_path, "tiny", "1.0.0", 0.0, background=background)
    Server(tmp_path / "serving").hold(made)
    done = subprocess.run(
        [sys.executable, "-c", READY, tmp_path, FOLDER], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{bool(background)}\n", done.stderr


@pytest.mark.parametrize("broken", ["raises", "nan"])
def test_rows_that_cannot_be_explained_are_no_failure_of_the_version(server, monkeypatch, broken):
    """A client chose rows whose attributions do not add up, and each was a 500 of the candidate."""

    def shapley_of_hostile_rows(score, background, rows, coalitions, seed, together):
        if broken == "raises":
            raise np.linalg.LinAlgError("singular")
        return Attributions(base=np.zeros(1), values=np.full((*rows.shape, 1), np.nan))

    monkeypatch.setattr(explanation, "shapley", shapley_of_hostile_rows)
    answer = server.predict(explain=True)
    assert answer.status_code == 422
    assert answer.json()["hint"]
    assert server.predict().status_code == 200
