"""Keys and feature definitions reach a serving machine as a trusted key signed them, or not at all."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from signing import TRUSTED, Key

from perennial.errors import NotSigned, SettingsError
from perennial.serving.access import handed_files
from perennial.serving.access.client_keys import refuse_open_door
from perennial.serving.signed_files import sign_files
from perennial.settings import Settings

FILES = {"client-keys.json": b"{}", "feast/registry.db": bytes(range(256))}


@pytest.fixture
def states(tmp_path):
    control, machine = tmp_path / "control", tmp_path / "machine"
    for name, content in FILES.items():
        (control / name).parent.mkdir(parents=True, exist_ok=True)
        (control / name).write_bytes(content)
    return control, machine


def held(state) -> dict[str, bytes]:
    paths = [path for path in state.rglob("*") if path.is_file()]
    return {str(path.relative_to(state)): path.read_bytes() for path in paths}


def test_what_is_signed_arrives_and_what_is_gone_goes(states):
    control, machine = states
    body = handed_files.pack(control, Key)
    assert handed_files.pack(control, Key) == body, "the same files are no change"
    handed_files.keep(machine, body, TRUSTED)
    assert held(machine) == FILES
    assert {path.stat().st_mode & 0o777 for path in machine.rglob("*") if path.is_file()} == {0o600}
    (control / "client-keys.json").unlink()
    handed_files.keep(machine, handed_files.pack(control, Key), TRUSTED)
    assert set(held(machine)) == {"feast/registry.db"}


def test_without_files_nothing_is_handed(tmp_path):
    assert handed_files.pack(tmp_path, Key) == ""
    handed_files.keep(tmp_path / "machine", "", TRUSTED)
    assert not (tmp_path / "machine").exists()


def test_a_new_machine_starts_before_it_is_handed_keys(tmp_path):
    """Its servers refuse every client until then."""
    serving = Settings(home=tmp_path, host="0.0.0.0", plane="serving")  # noqa: S104 not bound
    refuse_open_door(serving)
    assert serving.keys_required
    with pytest.raises(SettingsError, match="API keys"):
        refuse_open_door(serving.model_copy(update={"plane": "all"}))


def other_content(body: dict) -> dict:
    return body | {"feast-registry.db": b64encode(b"code of somebody").decode()}


def one_more(body: dict) -> dict:
    return body | {"feast-definitions.json": b64encode(b"{}").decode()}


def one_less(body: dict) -> dict:
    return {name: text for name, text in body.items() if name != "client-keys.json"}


def outside(body: dict) -> dict:
    return body | {"../../.bashrc": b64encode(b"x").decode()}


@pytest.mark.parametrize("change", [other_content, one_more, one_less, outside])
def test_a_changed_set_changes_nothing_on_the_machine(states, change):
    control, machine = states
    body = json.loads(handed_files.pack(control, Key))
    with pytest.raises(NotSigned):
        handed_files.keep(machine, json.dumps(change(body)), TRUSTED)
    assert held(machine) == {}


def test_another_key_and_the_list_of_a_model_are_refused(states, tmp_path):
    control, machine = states
    with pytest.raises(NotSigned, match="no trusted key"):
        handed_files.keep(machine, handed_files.pack(control, lambda: Key(b"x" * 32)), TRUSTED)
    version = tmp_path / "version"
    version.mkdir()
    (version / "client-keys.json").write_bytes(b"{}")
    sign_files(version, "a model", "c", Key())
    body = {path.name: b64encode(path.read_bytes()).decode() for path in version.iterdir()}
    with pytest.raises(NotSigned, match="of the model"):
        handed_files.keep(machine, json.dumps(body), TRUSTED)
    assert held(machine) == {}
