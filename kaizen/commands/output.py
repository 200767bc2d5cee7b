"""What commands print: tables and lines for people, one JSON value for programs.

Titles, chunks and answers are other people's text. Everything for people goes through `Terminal`, which shows
control characters as escapes, so that a document cannot move the cursor, recolour the screen or set the clipboard.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from kaizen.errors import KaizenError, PermanentError, StorageFull, TransientError, Unavailable

EXIT_PERMANENT = 1
EXIT_TRANSIENT = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later
_STANDARD_OUTPUT = 1
_SHORT_OF = (errno.EAGAIN, errno.EINTR, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH)
_JOINERS = "\u200c\u200d"  # Cf as well, but Persian, Hindi and emoji need them
_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """Return `text` with every control, direction-changing and unpaired character (newline, tab apart) escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSAFE else c for c in text)


def _escaped(character: str) -> str:
    return character if character in "\n\t" + _JOINERS else character.encode("unicode_escape").decode()


class Terminal:
    """A console that takes plain text only: no markup, and no control characters."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(markup=False, emoji=False, highlight=False)

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line; in a pipe or a file it stays one line."""
        self.console.print(Text(printable(text), style=style), soft_wrap=not self.console.is_terminal)

    def write(self, text: str) -> None:
        """Print a piece of a line, as it comes."""
        self.console.print(Text(printable(text)), end="", soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
        """Print a table; every cell is shown as text."""
        heading = Text(title, style="bold") if title else None
        table = Table(title=heading, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(Text(column), overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(str(cell))) for cell in row))
        self.console.print(table)

    def pairs(self, values: Mapping[str, object], title: str = "") -> None:
        """Print names and values below each other."""
        grid = Table.grid(padding=(0, 2))
        for name, value in values.items():
            grid.add_row(Text(printable(name), style="dim"), Text(printable(str(value))))
        if title:
            self.line(title, style="bold")
        self.console.print(grid)

    @contextmanager
    def spinner(self, text: str) -> Iterator[Status]:
        """Show that something goes on, until the block ends; nothing where output is not a terminal."""
        with self.console.status(Text(printable(text))) as status:
            yield status


def print_json(value: object) -> None:
    """Print one JSON value on one line, in ASCII, so that it is safe in a terminal too."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def print_error(error: KaizenError, *, as_json: bool) -> None:
    """Print what happened and what to do about it on standard error."""
    if as_json:
        content: dict[str, Any] = {"code": error.code, "message": error.message, "advice": error.advice}
        sys.stderr.write(json.dumps({"error": content}) + "\n")
        return
    terminal = Terminal(Console(stderr=True, markup=False, emoji=False, highlight=False))
    terminal.line(f"error: {error.message}", style="bold red")
    if error.advice:
        terminal.line(error.advice)


def exit_code(error: KaizenError) -> int:
    """Return what the process ends with: whether trying again unchanged can help."""
    return EXIT_TRANSIENT if isinstance(error, TransientError) else EXIT_PERMANENT


def told(error: KaizenError | OSError, *, as_json: bool) -> int:
    """Print the error that ends a process, and return the exit status that it means.

    Nothing is said when whoever read standard output has gone: `| head` wanted no more.
    """
    if isinstance(error, BrokenPipeError) and _nobody_reads():
        return EXIT_PERMANENT
    ours = of_the_system(error) if isinstance(error, OSError) else error
    print_error(ours, as_json=as_json)
    return exit_code(ours)


def of_the_system(error: OSError) -> KaizenError:
    """The error of ours that the operating system's means."""
    said = error.strerror or str(error) or type(error).__name__
    message = f"{said}." if error.filename is None else f"{error.filename}: {said}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(message, advice="Free space, then try again.")
    if _does_not_answer(error):
        return Unavailable(message, advice="Check that what was called runs and can be reached, then try again.")
    if error.errno in _SHORT_OF:
        return TransientError(
            message, advice="Try again. If it stays so, free memory, or allow more open files and processes (ulimit)."
        )
    return PermanentError(message, advice="Check the path, its permissions and the disk.")


def _does_not_answer(error: OSError) -> bool:
    if isinstance(error, socket.gaierror):  # its numbers are not those of errno
        return error.errno == socket.EAI_AGAIN
    return isinstance(error, ConnectionError | TimeoutError) or error.errno in _UNREACHABLE


def _nobody_reads() -> bool:
    """Whether the reader of standard output has gone. What is still to be written then goes nowhere."""
    reader = select.poll()
    reader.register(_STANDARD_OUTPUT, 0)
    gone = bool(reader.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STANDARD_OUTPUT)
    return gone
