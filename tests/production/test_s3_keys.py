"""The keys of S3 in docs/guide/production.md: each does its work on a real server, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from backends.servers import GUIDE, S3
from botocore.exceptions import ClientError

pytestmark = pytest.mark.production

ADMIN = ("admin", "admin-of-the-test")
BUCKETS = ("models", "data", "log", "exchange")
ARTIFACT, REVISION, SEGMENT = "models/mlflow/1/model", "data/dvc/files/md5/ab/cd", "log/predictions/m/1.jsonl"
VERSION, SENT, OF_OTHER = (
    "exchange/plant/versions/abc/model",
    "exchange/plant/log/serving_a/1",
    "exchange/plant/log/serving_b/1",
)
ELSEWHERE = tuple(f"{bucket}/elsewhere" for bucket in BUCKETS)
PLACES = (ARTIFACT, REVISION, SEGMENT, VERSION, SENT, OF_OTHER, *ELSEWHERE)
READS = {
    "plant": {ARTIFACT, REVISION, SEGMENT, VERSION, SENT, OF_OTHER},
    "pages": {ARTIFACT},
    "serving_a": {VERSION},
}
WRITES = {"plant": READS["plant"], "pages": set(), "serving_a": {SENT}}
LISTS = READS
"""Key -> objects that it may read, write or find in a list of their folder."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Iterator[S3]:
    (text,) = re.findall(r"```json\n(\{\"identities\".*?)```", GUIDE.read_text(), re.DOTALL)
    identities = json.loads(text)
    admin = {"accessKey": ADMIN[0], "secretKey": ADMIN[1]}
    identities["identities"].append({"name": "admin", "credentials": [admin], "actions": ["Admin"]})
    server = S3(tmp_path_factory.mktemp("keys") / "s3", ADMIN, json.dumps(identities))
    try:
        client = server.client()
        for bucket in BUCKETS[1:]:
            client.create_bucket(Bucket=bucket)
        for place in PLACES:
            client.put_object(**at(place), Body=b"text")
        yield server
    finally:
        server.stop()


def at(place: str) -> dict[str, str]:
    bucket, _, key = place.partition("/")
    return {"Bucket": bucket, "Key": key}


def is_done(call, *args, **named) -> bool:
    """Whether a call is done, or refused as not allowed; any other error is raised."""
    try:
        call(*args, **named)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
            raise
        return False
    return True


@pytest.mark.parametrize("name", sorted(READS))
def test_a_key_reaches_its_own_folders_only(storage, name):
    client = storage.client((name, f"{name}-of-the-test"))
    assert {place for place in PLACES if is_done(client.get_object, **at(place))} == READS[name]
    assert {place for place in PLACES if is_done(client.put_object, **at(place), Body=b"text")} == WRITES[
        name
    ]
    listed = {
        place
        for place in PLACES
        if is_done(
            client.list_objects_v2,
            Bucket=at(place)["Bucket"],
            Prefix=at(place)["Key"].rpartition("/")[0] + "/",
        )
    }
    assert listed == LISTS[name]
    deleted = {place for place in PLACES if is_done(client.delete_object, **at(place))}
    assert deleted == WRITES[name], "SeaweedFS counts deleting as writing"
    for place in PLACES:
        storage.client().put_object(**at(place), Body=b"text")


@pytest.mark.parametrize("name", sorted(READS))
def test_a_key_makes_no_bucket_and_no_rules(storage, name):
    client = storage.client((name, f"{name}-of-the-test"))
    assert not is_done(client.create_bucket, Bucket="another")
    assert not is_done(client.delete_bucket, Bucket="models")
    assert not is_done(client.put_bucket_policy, Bucket="models", Policy="{}")
    copied = at(ELSEWHERE[0]) | {"CopySource": ARTIFACT}
    assert not is_done(client.copy_object, **copied)
    if name != "plant":
        assert not is_done(client.copy_object, **(at(ARTIFACT) | {"CopySource": ELSEWHERE[1]}))


def test_a_key_of_nobody_is_refused(storage):
    with pytest.raises(ClientError, match=r"InvalidAccessKeyId|SignatureDoesNotMatch"):
        storage.client(("plant", "guessed")).get_object(**at(ARTIFACT))
