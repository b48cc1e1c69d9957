"""A real MLflow server with accounts: who may approve, by every route, and what it writes down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from mlflow_server import DIGEST, MODEL, Client

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

PREFIXES = ("/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/")
NOT_APPROVERS = ("training", "release", "olga", "vic", "admin")
NAME = {"name": MODEL}


def said(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key.startswith("approval")}


def test_nobody_gets_in_without_an_account(mlflow_server):
    for auth in (None, ("ann", "wrong password"), ("nobody", "wrong password")):
        query = {"name": MODEL}
        answer = httpx.get(
            f"{mlflow_server.url}/api/2.0/mlflow/registered-models/get", params=query, auth=auth
        )
        assert answer.status_code == 401
    assert httpx.get(f"{mlflow_server.url}/health").status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_approver_is_written_down(mlflow_server, prefix):
    version, before = mlflow_server.version(), datetime.now(UTC) - timedelta(seconds=1)
    assert mlflow_server.client("release").tag(version, "approval", "waiting").status_code == 200
    assert mlflow_server.client("ann").tag(version, "approval", "approved", prefix).status_code == 200
    tags = mlflow_server.client("vic").tags(version)
    assert tags["approval"] == "approved"
    verb, digest, at = tags["approval.by.ann"].split()
    assert (verb, digest) == ("approved", DIGEST)
    assert before <= datetime.fromisoformat(at) <= datetime.now(UTC)
    assert mlflow_server.client("ben").tag(version, "approval", "rejected", prefix).status_code == 200
    tags = mlflow_server.client("vic").tags(version)
    assert tags["approval.by.ben"].startswith(f"rejected {DIGEST} ")
    assert tags["approval.by.ann"].startswith("approved"), "the word of one is not another's to change"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", NOT_APPROVERS)
def test_nobody_else_sets_or_deletes_it(mlflow_server, name, prefix):
    version = mlflow_server.version()
    assert mlflow_server.client("release").tag(version, "approval", "waiting").status_code == 200
    client = mlflow_server.client(name)
    assert client.tag(version, "approval", "approved", prefix).status_code == 403
    assert client.tag(version, "approval", "rejected", prefix).status_code == 403
    assert client.untag(version, "approval", prefix).status_code == 403
    assert said(mlflow_server.client("ann").tags(version)) == {"approval": "waiting"}


@pytest.mark.parametrize("name", [*NOT_APPROVERS, "ann"])
def test_nobody_writes_the_servers_own_tags(mlflow_server, name):
    version = mlflow_server.version()
    mlflow_server.client("ann").tag(version, "approval", "approved")
    before = said(mlflow_server.client("ann").tags(version))
    client = mlflow_server.client(name)
    for prefix in PREFIXES:
        for key in ("approval.by.ben", "approval.by.ann", "approval.x", "Approval.by.ben", "Approval"):
            assert client.tag(
                version, key, f"approved {DIGEST} {datetime.now(UTC).isoformat()}", prefix
            ).status_code in (400, 403)
        assert client.untag(version, "approval.by.ann", prefix).status_code == 403
    assert said(mlflow_server.client("ann").tags(version)) == before


def test_training_forges_nothing_by_another_way(mlflow_server):
    """Every other route through which a tag could come onto a version, or a version be swapped."""
    version, training = mlflow_server.version(), mlflow_server.client("training")
    mlflow_server.client("ann").tag(version, "approval", "approved")
    forged = [{"key": "approval.by.ben", "value": f"approved {DIGEST} {datetime.now(UTC).isoformat()}"}]
    born = {**NAME, **mlflow_server.files(), "tags": forged}
    for prefix in PREFIXES:
        assert training.post("model-versions/create", born, prefix).status_code == 403
        asked = {**born, "tags": [{"key": "approval", "value": "approved"}]}
        assert training.post("model-versions/create", asked, prefix).status_code == 403
        made = {"name": "other", "tags": [{"key": "approval", "value": "approved"}]}
        assert training.post("registered-models/create", made, prefix).status_code == 403
        marked = {**NAME, "key": "approval.by.ben", "value": "approved"}
        assert training.post("registered-models/set-tag", marked, prefix).status_code == 403
        for key, value in (
            ("digest", "e" * 64),
            ("capsule", "e" * 64),
            ("gate.roc_auc", "PASS"),
            ("release", "r"),
        ):
            assert training.tag(version, key, value, prefix).status_code == 403
        assert training.untag(version, "digest", prefix).status_code == 403
        renamed = {**NAME, "new_name": "mine"}
        assert training.post("registered-models/rename", renamed, prefix).status_code == 403
        gone = {**NAME, "version": version}
        assert training.call("DELETE", "model-versions/delete", gone, prefix).status_code == 403
        assert training.call("DELETE", "registered-models/delete", NAME, prefix).status_code == 403
        updated = {**gone, "description": "x", "tags": forged}
        training.call("PATCH", "model-versions/update", updated, prefix)
    assert set(said(training.tags(version))) == {"approval", "approval.by.ann"}
    for prefix in ("/api/3.0/mlflow/", "/ajax-api/3.0/mlflow/", "/api/2.0/preview/mlflow/", "/mlflow/"):
        assert training.tag(version, "approval", "rejected", prefix).status_code >= 400
    mutation = {"query": 'mutation { setModelVersionTag(name: "rates", key: "approval") { value } }'}
    assert training.http.post("/graphql", json=mutation).json()["errors"], (
        "MLflow's schema has no such mutation"
    )
    assert set(said(training.tags(version))) == {"approval", "approval.by.ann"}


def test_no_second_version_or_model_passes_for_another(mlflow_server):
    key, training = mlflow_server.version(), mlflow_server.client("training")
    number = training.tags(key)["semantic_version"]
    for forged, word in (
        ({"semantic_version": number, "digest": "e" * 64}, "has a version"),
        ({"semantic_version": "9.9.9", "digest": "0"}, "digest"),
        ({"semantic_version": f"{number} ", "digest": "e" * 64}, "semantic_version"),
    ):
        tags = [{"key": name, "value": value} for name, value in forged.items()]
        answer = training.post("model-versions/create", {**NAME, **mlflow_server.files(), "tags": tags})
        assert (answer.status_code, word in answer.text) == (400, True), answer.text
    admin, gone = mlflow_server.client("admin"), {**NAME, "version": key}
    assert admin.call("DELETE", "model-versions/delete", gone).status_code == 200
    tags = [{"key": "semantic_version", "value": number}, {"key": "digest", "value": DIGEST}]
    again = training.post("model-versions/create", {**NAME, **mlflow_server.files(), "tags": tags})
    assert again.status_code == 200, "the number of a deleted version is free"
    assert "RESOURCE_ALREADY_EXISTS" in training.post("registered-models/create", NAME).text
    for name in (MODEL.title(), f"{MODEL} ", MODEL.replace("a", "\u0430")):
        assert training.post("registered-models/create", {"name": name}).status_code == 400
    renamed = {"experiment_id": "1", "new_name": "gone"}
    for prefix in PREFIXES:
        assert training.post("experiments/update", renamed, prefix).status_code == 403


def test_graphql_answers_readers(mlflow_server):
    """MLflow's run page asks it; a set of pins that do not fit together made it a 500."""
    query = {
        "query": 'query { test(inputString: "x") { output } mlflowSearchRuns(input: {}) { apiError { message } } }'
    }
    answer = mlflow_server.client("vic").http.post("/graphql", json=query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["errors"] is None, answer.text


@pytest.mark.parametrize("name", ["olga", "training", "ann", "admin"])
def test_what_the_gate_reads_is_given_once(mlflow_server, name):
    """An operator may edit tags, but not make a new architecture look like the champion's."""
    version, client = (
        mlflow_server.version(architecture="transformer", data_checks="passed"),
        mlflow_server.client(name),
    )
    for prefix in PREFIXES:
        assert client.tag(version, "architecture", "mlp", prefix).status_code == 403
        assert client.untag(version, "architecture", prefix).status_code == 403
        assert client.tag(version, "features_hash", "as the champion", prefix).status_code == 403, "not later"
        own = 403 if name == "training" else 200
        assert client.tag(version, "team", "search", prefix).status_code == own, (
            "machines have no tags of their own"
        )
        assert client.tag(version, "lifecycle", "archived", prefix).status_code == 403
    tags = mlflow_server.client("vic").tags(version)
    assert tags["architecture"] == "transformer"
    assert "features_hash" not in tags


def test_an_operator_registers_nothing_as_evaluated(mlflow_server):
    body = {**NAME, **mlflow_server.files(), "tags": [{"key": "architecture", "value": "mlp"}]}
    mlflow_server.version()
    for prefix in PREFIXES:
        assert mlflow_server.client("olga").post("model-versions/create", body, prefix).status_code == 403


def test_a_copy_of_a_version_brings_no_approval(mlflow_server):
    """MLflow's own client copies a version with its tags, by this request."""
    version, training = mlflow_server.version(), mlflow_server.client("training")
    mlflow_server.client("ann").tag(version, "approval", "approved")
    tags = [{"key": key, "value": value} for key, value in training.tags(version).items()]
    assert training.post("registered-models/create", {"name": "copied"}).status_code == 200
    copied = {"name": "copied", **mlflow_server.files(), "tags": tags}
    assert training.post("model-versions/create", copied).status_code == 403
    bare = {**copied, "tags": [one for one in tags if not one["key"].startswith("approval")]}
    elsewhere = {**bare, "source": f"models:/{MODEL}/{version}"}
    assert training.post("model-versions/create", elsewhere).status_code == 403, "files of another version"
    assert training.post("model-versions/create", bare).status_code == 200


def test_training_gives_itself_no_role(mlflow_server):
    client = mlflow_server.client("training")
    roles = {one["name"]: one["id"] for one in mlflow_server.client("admin").http.get(
        "/api/3.0/mlflow/roles/list", params={"workspace": "default"}).json()["roles"]}  # fmt: skip
    body = {"username": "training", "role_id": roles["approver"]}
    answer = client.http.post("/api/3.0/mlflow/roles/assign", json=body)
    assert answer.status_code == 403, answer.text
    admin = {"username": "training", "is_admin": True}
    assert client.http.patch("/api/2.0/mlflow/users/update-admin", json=admin).status_code == 403
    password = {"username": "ann", "password": "a password that is long"}
    assert client.http.patch("/api/2.0/mlflow/users/update-password", json=password).status_code == 403


def test_the_machine_asks_anew_and_only_asks(mlflow_server):
    version, machine = mlflow_server.version(), mlflow_server.client("release")
    mlflow_server.client("ann").tag(version, "approval", "approved")
    assert machine.tag(version, "approval", "waiting").status_code == 200
    tags = said(machine.tags(version))
    assert tags["approval"] == "waiting"
    assert tags["approval.by.ann"].startswith("approved "), "a word is lost by no question"
    assert machine.tag(version, "gate.roc_auc", "PASS 0.7").status_code == 200
    assert machine.tag(version, "release", "r1").status_code == 200


def test_an_approver_takes_the_word_back(mlflow_server):
    version = mlflow_server.version()
    for name in ("ann", "ben"):
        mlflow_server.client(name).tag(version, "approval", "approved")
    assert mlflow_server.client("ann").tag(version, "approval", "waiting").status_code == 200
    assert set(said(mlflow_server.client("vic").tags(version))) == {"approval", "approval.by.ben"}
    assert mlflow_server.client("ben").untag(version, "approval").status_code == 403, (
        "MLflow lets who manages delete"
    )
    assert mlflow_server.client("ben").tag(version, "approval", "waiting").status_code == 200
    assert said(mlflow_server.client("vic").tags(version)) == {"approval": "waiting"}


@pytest.mark.parametrize("value", ["yes", "approved 00000000", "approved dddddddd and more", "Aproved"])
def test_a_word_that_means_nothing_is_refused(mlflow_server, value):
    version = mlflow_server.version()
    assert mlflow_server.client("ann").tag(version, "approval", value).status_code == 400
    assert said(mlflow_server.client("ann").tags(version)) == {}


def test_a_version_without_digest_is_nothing_to_approve(mlflow_server):
    training = mlflow_server.client("training")
    training.post("registered-models/create", NAME)
    made = training.post("model-versions/create", {**NAME, **mlflow_server.files()}).json()
    assert (
        mlflow_server.client("ann").tag(made["model_version"]["version"], "approval", "approved").status_code
        == 400
    )


def test_aliases_of_the_traffic_are_the_machines(mlflow_server):
    version = mlflow_server.version()
    for alias, allowed in (
        ("champion", {"release"}),
        ("previous", {"release"}),
        ("candidate", {"training", "release"}),
    ):
        body = {**NAME, "alias": alias, "version": version}
        for name in ("training", "ann", "admin", "olga", "release"):
            answer = mlflow_server.client(name).post("registered-models/alias", body)
            assert (answer.status_code == 200) is (name in allowed), (alias, name, answer.text)
        for name in ("ann", "vic"):
            gone = mlflow_server.client(name).call(
                "DELETE", "registered-models/alias", {**NAME, "alias": alias}
            )
            assert gone.status_code == 403
    assert mlflow_server.client("vic").http.get(
        "/api/2.0/mlflow/registered-models/alias", params={**NAME, "alias": "champion"}
    ).json()["model_version"]["version"] == version  # fmt: skip


def test_a_role_given_in_mlflow_counts_at_once(mlflow_server):
    """Who may approve is MLflow's own record: an admin adds people there."""
    admin, version = mlflow_server.client("admin"), mlflow_server.version()
    password = "a password of the test"
    admin.post("users/create", {"username": "newcomer", "password": password})
    newcomer = Client(mlflow_server.url, ("newcomer", password))
    assert newcomer.tag(version, "approval", "approved").status_code == 403
    roles = admin.http.get("/api/3.0/mlflow/roles/list", params={"workspace": "default"}).json()["roles"]
    number = next(one["id"] for one in roles if one["name"] == "approver")
    given = admin.http.post("/api/3.0/mlflow/roles/assign", json={"username": "newcomer", "role_id": number})
    assert given.status_code == 200, given.text
    assert newcomer.tag(version, "approval", "approved").status_code == 200
    assert "approval.by.newcomer" in newcomer.tags(version)


def test_the_server_stays_small(mlflow_server):
    """Measured 530 MB, one worker and the process that started it; without authentication 500."""
    assert mlflow_server.memory_mb() < 750
