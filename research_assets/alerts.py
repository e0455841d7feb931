"""Delivery of alerts: a line in `alerts.jsonl`, and a message to a webhook.

Not here: what causes an alert and what it says (see sensors/run_failures.py and sensors/sensor_failures.py).
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from research_assets.settings import Settings
from research_assets.storage.files import private_folder
from research_assets.text import webhook_text

WEBHOOK_NOT_SET = "no webhook is set"


def append_alert(settings: Settings, alert: Mapping[str, Any]) -> None:
    """Append one line to `alerts.jsonl`, readable by its owner only."""
    private_folder(settings.alerts.parent)
    with os.fdopen(os.open(settings.alerts, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
        # A full disk may have cut off the last line. Without a line break it would make this line unreadable too.
        is_cut_off = file.seek(0, os.SEEK_END) > 0 and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
        file.write(b"\n" * is_cut_off + json.dumps(alert).encode() + b"\n")


def read_alerts(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the lines of `alerts.jsonl`, oldest first, without lines that a full disk or a power failure cut off."""
    if not settings.alerts.exists():
        return
    for line in settings.alerts.read_bytes().splitlines():
        try:
            alert = json.loads(line)
        except ValueError:
            continue
        if isinstance(alert, dict):
            yield alert


def post_webhook(settings: Settings, text: str) -> str:
    """Post a message if an address is set, and return the outcome as text without the address, which may be a secret.

    The message leaves the machine: `text` must contain no error message, which could quote data, and no setting.
    Never raises for the webhook, so that no failure of it hides the failure that it reports.
    """
    if not settings.alert_webhook:
        return WEBHOOK_NOT_SET
    import httpx  # takes a tenth of a second, so only a failure imports it

    from research_assets.tiktok.connection import connection_options

    try:
        options = connection_options(settings.alert_webhook)
        message = {"text": webhook_text(text)}
        # A stream, whose content is not read: it could be of any length.
        with httpx.stream("POST", settings.alert_webhook, json=message, timeout=10, **options) as response:
            return f"HTTP {response.status_code}"
    # InvalidURL, and the ValueError of a host name that cannot be encoded or of a proxy, are no HTTPError.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        return f"not reached ({type(error).__name__})"
