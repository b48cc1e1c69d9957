"""Notices through apprise to a real SMTP server and a real webhook on loopback."""

from __future__ import annotations

import logging

import pytest
from mail_server import Mailbox, Webhook, serving

from perennial import settings as environment
from perennial.adapters.apprise_notifier import AppriseNotifier, masked
from perennial.cli import main
from perennial.core.governance.notices import Notice
from perennial.errors import NotDelivered, SettingsError

NOTICE = Notice(title="m 1.1.0 awaits approval", body="Why: high risk\n  FAIL a: 1 (needed: 2)\nhttp://m/#/x")
SECRET = "hunter2secret"


@pytest.fixture
def mailbox():
    with serving(Mailbox()) as server:
        yield server


@pytest.fixture
def webhook():
    with serving(Webhook()) as server:
        yield server


def mail_address(port: int) -> str:
    return f"mailto://127.0.0.1:{port}?from=perennial@house.test&to=ann@house.test"


def hook_address(port: int) -> str:
    return f"json://robot:{SECRET}@127.0.0.1:{port}/hooks/{SECRET}-path"


def test_mail_and_webhook_arrive(mailbox, webhook):
    notifier = AppriseNotifier([mail_address(mailbox.port), hook_address(webhook.port)])
    assert notifier.channels == ("1-mailto", "2-json")
    for channel in notifier.channels:
        notifier.send(channel, NOTICE)
    (mail,) = mailbox.mails
    assert (mail["To"], mail["Subject"]) == ("ann@house.test", NOTICE.title)
    text = mail.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert text.strip() == NOTICE.body
    (body,) = webhook.bodies
    assert (body["title"], body["message"]) == (NOTICE.title, NOTICE.body)


def test_channel_that_fails_tells_why_without_a_secret(webhook, caplog, capfd):
    webhook.status = 500
    gone = AppriseNotifier([hook_address(webhook.port), hook_address(1), mail_address(1)])
    with caplog.at_level(logging.DEBUG):
        for channel in gone.channels:
            with pytest.raises(NotDelivered) as refusal:
                gone.send(channel, NOTICE)
            assert refusal.value.message.startswith(f"{channel}: ")
            assert len(refusal.value.message) > len(channel) + 10
            assert SECRET not in refusal.value.message
    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())


def test_address_that_is_none_is_named_by_its_number():
    with pytest.raises(SettingsError, match="address 2") as refusal:
        AppriseNotifier([hook_address(1), f"nonsense://{SECRET}"])
    assert SECRET not in refusal.value.message + refusal.value.hint


def test_parts_of_an_address_are_masked():
    text = "POST to http://host.test/hooks/abc%20token for user bob with k3y and Abc Token failed"
    refusal = masked(text, "json://bob:pass@host.test/hooks/abc%20token?key=k3y")
    assert refusal == "POST to http://host.test/***/*** for user *** with *** and *** failed"
    assert masked("no TOKENA/TOKENB there", "slack://TOKENA/TOKENB") == "no ***/*** there"


def test_settings_show_no_secret(monkeypatch, tmp_path):
    from perennial.local import handed_secrets
    from perennial.local.processes import table
    from perennial.local.supervisor import set_up

    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_NOTIFY", f"{hook_address(1)}  {mail_address(2)}")
    settings = environment.load()
    set_up(settings, lambda line: None)
    assert SECRET not in repr(settings) + str(settings)
    assert settings.notify_addresses == (hook_address(1), mail_address(2))
    assert SECRET not in repr(handed_secrets.base_environment(settings))
    notifier = next(process for process in table(settings) if process.name == "notifier")
    handed_secrets.write(settings)
    with monkeypatch.context() as started:
        started.delenv("PERENNIAL_NOTIFY")
        started.setenv("PERENNIAL_NOTIFY_FILE", notifier.environment["PERENNIAL_NOTIFY_FILE"])
        assert environment.load().notify_addresses == settings.notify_addresses
    assert SECRET not in repr(table(settings))
    monkeypatch.delenv("PERENNIAL_NOTIFY")
    assert "notifier" not in [process.name for process in table(environment.load())]


def test_commands(monkeypatch, tmp_path, mailbox, webhook, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    assert main(["notify", "send"]) == 11
    monkeypatch.setenv("PERENNIAL_NOTIFY", f"{mail_address(mailbox.port)} {hook_address(webhook.port)}")
    assert main(["notify", "test"]) == 0
    assert (len(mailbox.mails), len(webhook.bodies)) == (1, 1)
    assert main(["notify", "send"]) == 0
    webhook.status = 500
    assert main(["notify", "test"]) == 71
    assert main(["notify", "status"]) == 0
    assert SECRET not in "".join(capsys.readouterr())
