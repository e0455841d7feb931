"""How a failure is told: a line in a log, a message to a webhook. What is told is decided by the sensors."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from research_assets.settings import Settings
from research_assets.storage.files import private_folder

WEBHOOK_NOT_SET = "no webhook is set"


def append_alert(settings: Settings, facts: Mapping[str, Any]) -> None:
    """Append one line to `alerts.jsonl`, readable by its owner alone."""
    private_folder(settings.alerts.parent)
    with os.fdopen(os.open(settings.alerts, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
        # A line that a full disk cut off must not take this one with it.
        torn = file.seek(0, os.SEEK_END) > 0 and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
        file.write(b"\n" * torn + json.dumps(facts).encode() + b"\n")


def read_alerts(settings: Settings) -> Iterator[dict[str, Any]]:
    """The lines of `alerts.jsonl`, oldest first. What a full disk or a power loss cut off is passed over."""
    if not settings.alerts.exists():
        return
    for line in settings.alerts.read_bytes().splitlines():
        try:
            facts = json.loads(line)
        except ValueError:
            continue
        if isinstance(facts, dict):
            yield facts


def post_webhook(settings: Settings, text: str) -> str:
    """Post, if an address is set, and say what came of it in words that do not hold the address: it may be a secret.

    The message leaves the machine: `text` must hold no error, which could quote data, and no setting.
    """
    if not settings.alert_webhook:
        return WEBHOOK_NOT_SET
    import httpx  # a tenth of a second that only a failure pays

    try:
        answer = httpx.post(settings.alert_webhook, json={"text": text}, timeout=10)
    except httpx.HTTPError as error:
        return f"not reached ({type(error).__name__})"
    return f"HTTP {answer.status_code}"
