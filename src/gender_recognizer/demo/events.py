"""Events from the page to gradio: parsed and written again, so that gradio reads only what was checked.

A visitor is one tab of one browser: `browser.session`. The tab chooses the name of its session; the browser is known by
its cookie, so that nobody reads, changes or ends another's visit by naming it.
"""

import json
import re
from collections.abc import Callable
from typing import Any

SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
IsUpload = Callable[[str], bool]


def visitor_of(browser: str, session: Any) -> str:
    """Return the visitor.

    Raises:
        ValueError: a session that no tab would name.
    """
    if not isinstance(session, str) or not SESSION.fullmatch(session):
        raise ValueError("not a session of the page")
    return f"{browser}.{session}"


def rewrite_event(kind: str, body: bytes, browser: str, is_upload: IsUpload) -> bytes:
    """Return the JSON of an event, written again with the visitor in place of the session.

    Args:
        kind: `join`, `cancel` or `reset`.
        body: as received.
        browser: whose event it is.
        is_upload: returns whether a path is that of a file that this browser uploaded.

    Raises:
        ValueError: the page does not send such an event.
    """
    try:
        sent = json.loads(body)
        if not isinstance(sent, dict):
            raise ValueError("not an event of the page")
        event = {"join": _join, "cancel": _cancel, "reset": _reset}[kind](sent, browser, is_upload)
        return json.dumps(event, ensure_ascii=False, allow_nan=False).encode(errors="replace")
    except RecursionError:
        raise ValueError("not an event of the page") from None


def _join(sent: dict[str, Any], browser: str, is_upload: IsUpload) -> dict[str, Any]:
    values = sent.get("data")
    if not isinstance(values, list):
        raise ValueError("an event without values")
    return {
        "data": [_clean(value, is_upload) for value in values],
        "fn_index": _number(sent.get("fn_index")),
        "session_hash": visitor_of(browser, sent.get("session_hash")),
        "trigger_id": None if sent.get("trigger_id") is None else _number(sent["trigger_id"]),
    }


def _cancel(sent: dict[str, Any], browser: str, _is_upload: IsUpload) -> dict[str, Any]:
    return {
        "session_hash": visitor_of(browser, sent.get("session_hash")),
        "fn_index": _number(sent.get("fn_index")),
        "event_id": str(sent.get("event_id"))[:64],
    }


def _reset(sent: dict[str, Any], _browser: str, _is_upload: IsUpload) -> dict[str, Any]:
    return {"event_id": str(sent.get("event_id"))[:64]}


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("not a number of an event")
    return value


def _clean(value: Any, is_upload: IsUpload) -> Any:
    """Return a value, which is plain, or a list of uploads."""
    if value is None or isinstance(value, str | int | float):
        return value
    if not isinstance(value, list):
        raise ValueError("not a value of the page")
    return [_clean_file(file, is_upload) for file in value]


def _clean_file(file: Any, is_upload: IsUpload) -> dict[str, Any]:
    """Return an upload with only its path and the name that its visitor gave it."""
    path = file.get("path") if isinstance(file, dict) else None
    if not isinstance(path, str) or not is_upload(path):
        raise ValueError("not a file that you have uploaded")
    name = file.get("orig_name")
    return {
        "path": path,
        "orig_name": name if isinstance(name, str) else "",
        "meta": {"_type": "gradio.FileData"},
    }
