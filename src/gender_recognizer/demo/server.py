"""The page's server: the application around gradio, its socket, and its end."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import gradio
import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response

from gender_recognizer.demo.guard import Guard
from gender_recognizer.demo.page import LOCAL, Page, build_blocks
from gender_recognizer.demo.receiving import receive_files, tell_progress
from gender_recognizer.demo.settings import DemoSettings
from gender_recognizer.demo.uploads import UploadStore
from gender_recognizer.interruption import STOPPED

STYLE = Path(__file__).parents[1] / "templates" / "demo.css"
SWEEP_SECONDS = 30
"""Seconds between searches for files that nobody took."""

GRACE_SECONDS = 5
"""Seconds that the server waits for pictures that are being labelled when it is told to stop."""

SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]


def build_app(settings: DemoSettings, store: UploadStore) -> FastAPI:
    """Return the web application; when it stops, the store is emptied."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(sweep(store))
        yield
        sweeping.cancel()
        store.close()

    async def upload(request: Request) -> Response:
        return await receive_files(request, store.arrivals, settings)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, arrivals=store.arrivals)
    if settings.host in LOCAL:  # another site cannot make a browser here treat this page as its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])
    for address in ("/gradio_api/upload", "/gradio_api/upload/"):
        app.add_route(address, upload, methods=["POST"])
    app.add_route("/gradio_api/upload_progress", tell_progress)
    return mount_page(app, settings, store)


def mount_page(app: FastAPI, settings: DemoSettings, store: UploadStore) -> FastAPI:
    """Add gradio's page to an application."""
    os.environ["GRADIO_TEMP_DIR"] = str(store.incoming)
    gradio.routes.DEFAULT_TEMP_DIR = str(store.incoming)  # set at its import; it makes a folder there
    blocks = build_blocks(Page(store, settings))
    blocks.has_launched = blocks.is_running = True  # otherwise gradio does not check the files that its clients name
    return gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
        theme=gradio.themes.Default(
            primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        css_paths=STYLE,
    )


async def sweep(store: UploadStore) -> None:
    """Remove files that nobody took, from time to time."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await asyncio.to_thread(store.sweep)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ValueError: the address is not of this machine, or in use.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = (error.strerror or str(error)).split(" (")[0]  # the rest repeats the address
        raise ValueError(f"cannot listen at host={host} port={port}: {why}; try another port") from None


def serve(settings: DemoSettings) -> None:
    """Show the page until Ctrl-C; a second one ends the process at once.

    Raises:
        ValueError: it cannot listen at the address.
        KeyboardInterrupt: a signal came before the page was ready.
    """
    listener = listen(settings.host, settings.port)
    with contextlib.ExitStack() as stack:
        store = UploadStore(settings)
        stack.callback(store.close)
        ending = stack.enter_context(Ending(store))
        server = uvicorn.Server(
            uvicorn.Config(build_app(settings, store), log_level="warning", timeout_graceful_shutdown=1)
        )
        ending.server = server
        server.handle_exit = ending  # type: ignore[method-assign,assignment]  # its own prints a traceback on two Ctrl-C
        _say_where(settings.host, listener.getsockname()[1])
        server.run(sockets=[listener])
        store.close()
        ending.wait()
        print("stopped", file=sys.stderr)


class Ending:
    """Handles signals: the first asks the server to stop, the next ends the process; nothing is left in both cases.

    Attributes:
        server: the server to stop; None before it is made.
    """

    def __init__(self, store: UploadStore) -> None:
        """Set the store that is emptied at the end."""
        self.server: uvicorn.Server | None = None
        self._store, self._has_begun = store, False
        self._others = set(threading.enumerate())
        self._late = threading.Timer(GRACE_SECONDS, self._end, [0])
        self._late.daemon = True

    def __enter__(self) -> "Ending":
        """Handle signals from now on."""
        self._before = {number: signal.signal(number, self) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Handle signals as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._has_begun:
            self._end(STOPPED)
        self._has_begun = True
        if self.server is None:
            raise KeyboardInterrupt
        self.server.should_exit = True
        self._late.start()

    def wait(self) -> None:
        """Wait for threads that still label; Python would wait for them at its end, however long they take."""
        for thread in set(threading.enumerate()) - self._others - {self._late}:
            if not thread.daemon:
                thread.join()
        self._late.cancel()

    def _end(self, code: int) -> NoReturn:
        """End now, whatever threads are still doing."""
        self._store.close()
        print("stopped", file=sys.stderr, flush=True)
        os._exit(code)


def _say_where(host: str, port: int) -> None:
    if host not in LOCAL:
        print("anyone who can reach this machine can use the page: it has no password", file=sys.stderr)
    address = f"[{host}]" if ":" in host else host
    print(f"the page is at http://{address}:{port} (Ctrl-C stops it)", file=sys.stderr)
