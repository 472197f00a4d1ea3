"""What may reach the page: only the requests that the page itself makes, and no files but a visitor's own uploads."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; worker-src 'self' blob:; form-action 'self'; base-uri 'self'; "
    "object-src 'none'; frame-ancestors 'none'"
)
"""Makes the browser itself refuse every request to another machine."""

MAX_EVENT_BYTES = 1_000_000
"""Largest request that is no upload; 200 files with long names take 0.2 MB."""

READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)/?|/(assets|static|svelte)/.*"
    r"|/gradio_api/(info|app_id|startup-events|upload_progress|queue/data|heartbeat/[^/]+)/?"
)
WRITE = re.compile(r"/gradio_api/(upload|cancel|reset|queue/join)/?")
"""What the page asks of gradio. Nothing it asks for is a file of this machine: it shows pictures inside of answers."""


class Guard:
    """Middleware: refuses what the page does not need, and gives each answer the page's security policy."""

    def __init__(self, app: App, incoming: Path, max_bytes: int) -> None:
        """Take the application, the folder of its uploads and the largest upload."""
        self.app, self.incoming, self.max_bytes = app, incoming.resolve(), max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # the page opens none
                return await send({"type": "websocket.close", "code": 1008})
            return await self.app(scope, receive, send)
        refusal, receive = await self._check(scope, receive)
        await (refusal or self.app)(scope, receive, _with_policy(send))

    async def _check(self, scope: Scope, receive: Receive) -> tuple[PlainTextResponse | None, Receive]:
        """Return why a request is refused, or None, and what reads the request from then on."""
        path = scope["path"]
        if scope["method"] in ("GET", "HEAD"):
            known = READ.fullmatch(path)
            return None if known else PlainTextResponse("not found", 404), receive
        if scope["method"] != "POST" or not WRITE.fullmatch(path):
            return PlainTextResponse("not found", 404), receive
        length = Headers(scope=scope).get("content-length", "")
        largest = self.max_bytes if "/upload" in path else MAX_EVENT_BYTES
        if not (length.isdigit() and int(length) <= largest):
            return PlainTextResponse("too much at once; drop fewer pictures", 413), receive
        if "/upload" in path:
            return None, receive
        body = await _read_body(receive)
        refusal = None if self._is_harmless(body) else PlainTextResponse("not a file that you have uploaded", 403)
        return refusal, _replay(body, receive)

    def _is_harmless(self, body: bytes) -> bool:
        """Say whether an event is JSON in which each file, in whatever slot, is one of the uploads."""
        try:
            return all(self._is_upload(file) for file in find_files(json.loads(body)))
        except (ValueError, RecursionError):
            return False

    def _is_upload(self, file: dict[str, Any]) -> bool:
        path = file.get("path")
        try:
            return isinstance(path, str) and Path(path).resolve().is_relative_to(self.incoming)
        except (OSError, ValueError):
            return False


def find_files(value: Any) -> Iterator[dict[str, Any]]:
    """Yield whatever gradio could take for a file in the values of an event."""
    if isinstance(value, dict):
        if "path" in value or "meta" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from find_files(item)


async def _read_body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already once more, then what else comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _with_policy(send: Send) -> Send:
    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"], headers["referrer-policy"] = POLICY, "no-referrer"
        await send(message)

    return send_with_policy
