"""Standard output and error, made safe to print to."""

import os
import sys


def prepare_streams() -> None:
    r"""Make sure that printing never ends a command, whatever standard output and error are.

    A closed one (`2>&-`) becomes the null device, before a result file gets its number; characters that an encoding
    lacks are written as escapes such as `\u2022`.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def show(text: str) -> None:
    """Print a result; it is not an error when the reader, such as `head`, stops reading."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python flushes at its end
