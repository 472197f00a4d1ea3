"""The page's own upload: files are limited while they arrive, and nothing of a broken upload is kept."""

import asyncio
from typing import Any

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gender_recognizer.demo.arrivals import MAX_WAITING_SECONDS, Arrival, Arrivals
from gender_recognizer.demo.settings import DemoSettings

SMALL_PARTS_BYTES = 1_000_000
"""Most bytes that boundaries and headers of 1000 files may add to their contents."""

MAX_BOUNDARY_BYTES = 70
"""Longest boundary (RFC 2046, section 5.1.1)."""


class TooMuch(Exception):
    """More than a request may hold."""


class Receiver:
    """Reads the files of one request, piece by piece; fields that are not files are not kept.

    Attributes:
        files: those that have begun to arrive.
    """

    def __init__(self, boundary: bytes, arrivals: Arrivals, browser: str) -> None:
        """Set the separator of the parts, where they go and whose they are."""
        self.files: list[Arrival] = []
        self._arrivals, self._browser = arrivals, browser
        self._current: Arrival | None = None
        self._has_ended = False
        self._name, self._value, self._disposition = b"", b"", b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._read_name,
                "on_header_value": self._read_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_file,
                "on_part_data": self._read_data,
                "on_part_end": self._end_file,
                "on_end": self._end,
            },
        )

    def write(self, data: bytes) -> None:
        """Read the next piece.

        Raises:
            MultipartParseError: it is not an upload.
            TooMuch: more files than a browser may have waiting.
        """
        self._parser.write(data)

    def end(self) -> None:
        """Finish after the last piece.

        Raises:
            MultipartParseError: the upload is not complete.
        """
        if not self._has_ended:
            raise MultipartParseError("cut off")

    def _begin_part(self) -> None:
        self._name, self._value, self._disposition = b"", b"", b""

    def _read_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _begin_file(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != b"files" or b"filename" not in options:
            return
        self._current = self._arrivals.expect(self._browser)
        if self._current is None:
            raise TooMuch
        self.files.append(self._current)

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None:
            self._current.write(data[start:end])

    def _end_file(self) -> None:
        if self._current is not None:
            self._current.close()
        self._current = None

    def _end(self) -> None:
        self._has_ended = True


async def receive_files(request: Request, arrivals: Arrivals, settings: DemoSettings) -> Response:
    """Store what a browser uploads, and answer with the paths; a file that is not kept has one, too.

    The page names the paths when it takes the files, and is told then why one is not kept.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        return PlainTextResponse("not an upload", 400)
    most = int(settings.max_visitor_mb * 1_000_000) + SMALL_PARTS_BYTES
    receiver = Receiver(boundary, arrivals, request.scope["browser"])
    is_complete = False
    try:
        async with asyncio.timeout(MAX_WAITING_SECONDS):
            await _read(request, receiver, most)
        is_complete = True
    except TooMuch:
        return PlainTextResponse("too much at once; drop fewer pictures", 413)
    except (FormParserError, ClientDisconnect, TimeoutError):
        return PlainTextResponse("the upload was not complete; drop the pictures again", 400)
    finally:
        if not is_complete:
            arrivals.drop(receiver.files)
    return JSONResponse([str(file.path) for file in receiver.files])


async def _read(request: Request, receiver: Receiver, most: int) -> None:
    """Read a request to its end, but at most `most` bytes, whatever length it claims."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > most:
        raise TooMuch
    async for piece in request.stream():
        most -= len(piece)
        if most < 0:
            raise TooMuch
        receiver.write(piece)
    receiver.end()


async def tell_progress(_request: Any) -> Response:
    """Answer what gradio's page asks about an upload in progress: nothing to show."""
    return PlainTextResponse('data: {"msg": "done"}\n\n', media_type="text/event-stream")
