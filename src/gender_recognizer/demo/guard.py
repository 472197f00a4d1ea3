"""Let through only the requests that the page itself makes, to the browser's own data, and none from other sites."""

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from gender_recognizer.demo.arrivals import Arrivals
from gender_recognizer.demo.events import rewrite_event, visitor_of

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

HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}

MAX_EVENT_BYTES = 1_000_000
"""Largest request other than an upload; 200 files with long names take 0.2 MB."""

READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)/?"
    r"|/(assets|static|svelte)/(?!.*\.\.)[\w./@~+-]+"
    r"|/gradio_api/(info|app_id|startup-events|upload_progress)/?"
)
OWN = re.compile(r"/gradio_api/(queue/data|heartbeat/(?P<session>[^/]+))/?")
UPLOAD = re.compile(r"/gradio_api/upload/?")
EVENT = re.compile(r"/gradio_api/(?:queue/(?=join))?(?P<kind>(?<=queue/)join|cancel|reset)/?")
"""The requests of the page to gradio. None is for a file of this machine: pictures are inside the answers."""

COOKIE = "gender_recognizer_browser"
SECRET = re.compile(r"[A-Za-z0-9_-]{32}")


class Refused(Exception):
    """A request that is refused."""

    def __init__(self, status: int, reason: str) -> None:
        """Set the HTTP status and the message."""
        super().__init__(reason)
        self.status, self.reason = status, reason


class Guard:
    """Middleware: refuses what the page does not need, and gives each answer the page's security policy.

    It adds whose request it is: `scope["browser"]`, and for gradio the visitor as session hash.
    """

    def __init__(self, app: App, arrivals: Arrivals) -> None:
        """Set the application and the files that visitors have uploaded."""
        self.app, self.arrivals = app, arrivals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":  # the page opens none
            return await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        send = _with_headers(send, _new_cookie(scope))
        try:
            scope, receive = await self._admit(scope, receive)
        except Refused as refusal:
            return await PlainTextResponse(refusal.reason, refusal.status)(scope, receive, send)
        await self.app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        """Return a request as it is passed on."""
        path, is_read = scope["path"], scope["method"] in ("GET", "HEAD")
        if is_read and READ.fullmatch(path):
            if path.startswith("/gradio_api/"):
                check_origin(Headers(scope=scope))
            return scope, receive
        pattern = OWN if is_read else UPLOAD if UPLOAD.fullmatch(path) else EVENT
        known = pattern.fullmatch(path)
        if not known or not (is_read or scope["method"] == "POST"):
            raise Refused(404, "not found")
        check_origin(Headers(scope=scope))
        scope = {**scope, "browser": _browser(scope)}
        if is_read:
            return _rewrite_address(scope, known["session"]), receive
        if pattern is UPLOAD:
            return _check_encoding(scope), receive
        return await self._rewrite_body(_check_encoding(scope), receive, known["kind"])

    async def _rewrite_body(self, scope: Scope, receive: Receive, kind: str) -> tuple[Scope, Receive]:
        """Return an event that holds only what was checked."""
        browser = scope["browser"]
        try:
            body = rewrite_event(
                kind, await _read_body(receive), browser, lambda path: self.arrivals.is_waiting(browser, path)
            )
        except ValueError as error:
            reason = str(error) if type(error) is ValueError else "not an event of the page"
            raise Refused(403, reason) from None
        replaced = (b"content-length", b"content-type", b"transfer-encoding")
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in replaced]
        headers += [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        return {**scope, "headers": headers, "query_string": b""}, _replay(body, receive)


def check_origin(headers: Headers) -> None:
    """Refuse requests that another site makes a visitor's browser send; clients that are not browsers name no site.

    Raises:
        Refused: it comes from another site, also one on another port of this machine.
    """
    own = headers.get("host", "").lower()
    sites = [_site(value) for name in ("origin", "referer") for value in headers.getlist(name)]
    fetched = headers.getlist("sec-fetch-site")
    is_own = all(site and site == own for site in sites) and all(way in ("same-origin", "none") for way in fetched)
    if not is_own:
        raise Refused(403, "another site may not use this page")


def _site(address: str) -> str | None:
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:
        return None


def _check_encoding(scope: Scope) -> Scope:
    headers = Headers(scope=scope)
    if "content-encoding" in headers:
        raise Refused(415, "the page sends nothing compressed")
    return scope


def _secret(scope: Scope) -> str | None:
    """Return the content of a browser's cookie, or None."""
    try:
        cookies = SimpleCookie("; ".join(Headers(scope=scope).getlist("cookie")))
    except CookieError:
        return None
    value = cookies[COOKIE].value if COOKIE in cookies else ""
    return value if SECRET.fullmatch(value) else None


def _browser(scope: Scope) -> str:
    """Return the browser; its cookie is used nowhere else."""
    secret = _secret(scope)
    if secret is None:
        raise Refused(403, "open the page first, and allow it its cookie")
    return hashlib.sha256(secret.encode()).hexdigest()[:32]


def _new_cookie(scope: Scope) -> str | None:
    """Return the cookie for a browser that opens the page and has none yet."""
    if scope["path"] != "/" or scope["method"] != "GET" or _secret(scope):
        return None
    return f"{COOKIE}={secrets.token_urlsafe(24)}; Path=/; HttpOnly; SameSite=Lax"


def _rewrite_address(scope: Scope, session: str | None) -> Scope:
    """Return a request for a visitor's answers, with the visitor in place of the session in its address."""
    try:
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=20)
        named = [session] if session else query.get("session_hash", [])
        visitor = visitor_of(scope["browser"], named[0] if len(named) == 1 else None)
    except ValueError as error:
        raise Refused(403, str(error)) from None
    if session:
        path = f"/gradio_api/heartbeat/{visitor}"
        return {**scope, "path": path, "raw_path": path.encode(), "query_string": b""}
    return {**scope, "query_string": urlencode({"session_hash": visitor}).encode()}


async def _read_body(receive: Receive) -> bytes:
    """Return the body of a short request, whatever length it claims."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the request was not complete")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_EVENT_BYTES:
            raise Refused(413, "too much at once; drop fewer pictures")
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that replays a body that was already read, then passes on what follows."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _with_headers(send: Send, cookie: str | None) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            if cookie:
                headers.append("set-cookie", cookie)
        await send(message)

    return send_with_headers
