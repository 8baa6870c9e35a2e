"""What a run prints, warns and logs goes to the run's log, and to no cell.

`capture` marks the calling context (the trainer thread's) by a context variable. While at
least one context is marked, ``sys.stdout`` and ``sys.stderr`` are proxies that ask this
variable whom a text belongs to; everyone else's output passes through untouched. A thread
id would not do: Jupyter sends a thread's output to whichever cell ran last.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TextIO, TypeAlias

from nbtrain.runs import bars

Sink: TypeAlias = Callable[[str, str, bool], None]
"""``sink(stream, text, replace)`` takes one line; see `nbtrain.messages.Logged`."""

LINE_LIMIT: Final = 4_000
"""Characters of a line that are kept."""

BAR_INTERVAL: Final = 0.5
"""Seconds between two states of one progress bar in the log."""

_ENDS = re.compile(r"(\r\n|\n|\r)")
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

_capture: ContextVar[Capture | None] = ContextVar("nbtrain_capture", default=None)


@contextmanager
def capture(sink: Sink) -> Iterator[Capture]:
    """Send what this context prints, warns and logs to ``sink``, line by line.

    Called on the trainer thread, around training. ``sink`` is called on the thread that
    writes; it may print, and then prints where it would without us.
    """
    routed = Capture(sink)
    token = _capture.set(routed)
    _router.enter()
    try:
        yield routed
    finally:
        routed.close()
        _router.leave()
        _capture.reset(token)


def hold() -> None:
    """Put the proxies back where someone else replaced ``sys.stdout`` meanwhile.

    ``%%capture`` and `contextlib.redirect_stdout` do, for the whole process, and would
    swallow a run's prints. Called between two steps; costs a fraction of a microsecond.
    """
    if type(sys.stdout) is not _Proxy or type(sys.stderr) is not _Proxy:
        _router.attach()


# ── lines ────────────────────────────────────────────────────────────────────────────────


class _Line:
    """The unfinished line of one stream."""

    __slots__ = ("bar", "cut", "drawn", "fresh", "returned", "shown", "text")

    def __init__(self) -> None:
        self.text = ""
        self.cut = 0
        self.returned = False  # a carriage return was seen; the next text starts over
        self.bar = False  # the line was ever returned over, as progress bars do
        self.fresh = False  # the text changed since it was last shown
        self.shown = False  # an earlier state of the line is in the log
        self.drawn = float("-inf")

    def add(self, text: str) -> None:
        if self.returned:
            self.text, self.cut, self.returned = "", 0, False
        room = LINE_LIMIT - len(self.text)
        self.text += text[:room]
        self.cut += max(0, len(text) - room)
        self.fresh = True

    def whole(self) -> str:
        text = self.text.rstrip() if self.bar else self.text
        return f"{text}… ({self.cut:,} more characters)" if self.cut else text


class Capture:
    """Turns what one run writes into lines for its sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.RLock()
        self._lines: dict[str, _Line] = {}
        self._open: str | None = None  # the stream whose unfinished line was shown last
        self._process = os.getpid()
        self._closed = False

    @property
    def active(self) -> bool:
        """Whether texts belong here; a forked loader worker cannot reach the run's log."""
        return not self._closed and os.getpid() == self._process

    def write(self, stream: str, text: str) -> int:
        """Take ``text`` as a stream's ``write`` does; lines leave when they end."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            line = self._lines.setdefault(stream, _Line())
            for part in _ENDS.split(_ANSI.sub("", text)):
                if part in ("\n", "\r\n"):
                    self._end(stream)
                    line = self._lines[stream]
                elif part == "\r":
                    line.returned = line.bar = True
                elif part:
                    line.add(part)
            # A bar that was wiped out stays as it was, until the next takes its place.
            due = time.monotonic() - line.drawn >= BAR_INTERVAL
            if line.bar and line.fresh and due and line.text.strip():
                self._emit(stream, line, last=False)
        return len(text)

    def lines(self, stream: str, text: str) -> None:
        """Take whole lines, such as a formatted warning."""
        for line in text.rstrip("\n").split("\n"):
            self.write(stream, line + "\n")

    def close(self) -> None:
        """Let go of what has not ended in a newline."""
        with self._lock:
            for stream, line in list(self._lines.items()):
                if line.fresh and line.text.strip():
                    self._end(stream)
            self._closed = True

    def _end(self, stream: str) -> None:
        line = self._lines[stream]
        if line.fresh or not line.shown:
            if line.text.strip() or not line.bar:
                self._emit(stream, line, last=True)
        elif self._open == stream:
            self._open = None
        self._lines[stream] = _Line()

    def _emit(self, stream: str, line: _Line, *, last: bool) -> None:
        replace = line.shown and self._open == stream
        line.fresh, line.shown, line.drawn = False, True, time.monotonic()
        self._open = None if last else stream
        # What the sink itself prints is not the run's.
        token = _capture.set(None)
        try:
            self._sink(stream, line.whole(), replace)
        finally:
            _capture.reset(token)


def current() -> Capture | None:
    """The capture that this context writes to, if a run does."""
    routed = _capture.get()
    return routed if routed is not None and routed.active else None


# ── streams ──────────────────────────────────────────────────────────────────────────────


class _Proxy:
    """A stream that passes through whatever no run wrote.

    Not a subclass of `io.TextIOBase`, whose methods would hide the target's own.
    """

    __slots__ = ("_over", "_stream", "_target")

    def __init__(self, stream: str, target: TextIO) -> None:
        object.__setattr__(self, "_stream", stream)
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_over", None)

    @property
    def write(self) -> _Write:
        return _Write(self, self._over)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if current() is None:
            self._target.flush()

    def isatty(self) -> bool:
        return current() is None and self._target.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "write":
            setattr(self._target, name, value)
        elif isinstance(value, _Write) and value.proxy is self:
            object.__setattr__(self, "_over", value.over)
        else:
            object.__setattr__(self, "_over", value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._target)


class _Write:
    """A proxy's ``write`` as it was when someone asked for it.

    IPython records a cell's output by putting its own function in the place of ``write``,
    which calls the one it found there. So what is put there is called for others' texts
    only, and what was found there must not lead back to it.
    """

    __slots__ = ("over", "proxy")

    def __init__(self, proxy: _Proxy, over: Callable[[str], Any] | None) -> None:
        self.proxy, self.over = proxy, over

    def __call__(self, text: str) -> Any:
        routed = current()
        if routed is not None:
            return routed.write(self.proxy._stream, text)
        return (self.over or self.proxy._target.write)(text)


class _Own:
    """A stream of one run, for whoever writes to it later from a thread of their own."""

    encoding = "utf-8"

    def __init__(self, routed: Capture, stream: str) -> None:
        self._routed, self._stream = routed, stream

    def write(self, text: str) -> int:
        # After the run there is no log to write to, and nobody else's this is.
        return self._routed.write(self._stream, text) if self._routed.active else len(text)

    def flush(self) -> None:
        """Lines leave when they end."""

    def isatty(self) -> bool:
        return False


def _own_stream() -> _Own | None:
    routed = current()
    return None if routed is None else _Own(routed, "stderr")


# ── warnings and logging ─────────────────────────────────────────────────────────────────


def _showwarning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    routed = current() if file is None else None
    if routed is None:
        _router.showwarning(message, category, filename, lineno, file, line)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        routed.lines("warning", text)


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    """`logging.Logger.callHandlers`, with the run's log in the place of the console.

    A run's record reaches the user's own files and handlers as ever; the first handler
    that would have shown it on the console decides how it looks in the log.
    """
    routed = current()
    if routed is None:
        _router.call_handlers(logger, record)
        return
    found = logged = False
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            found = True
            if record.levelno < handler.level:
                continue
            if not _is_console(handler):
                handler.handle(record)
            elif not logged and handler.filter(record):
                routed.lines("logging", handler.format(record))
                logged = True
        at = at.parent if at.propagate else None
    last = logging.lastResort
    if not found and last is not None and record.levelno >= last.level:
        routed.lines("logging", last.format(record))


def _is_console(handler: logging.Handler) -> bool:
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    stream = handler.stream
    return type(stream) is _Proxy or any(stream is own for own in _router.consoles())


class _Router:
    """Holds the process-wide hooks while a run needs them, and puts back what was there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captures = 0
        self.showwarning: Callable[..., Any] = warnings.showwarning
        self.call_handlers: Callable[..., Any] = logging.Logger.callHandlers

    def consoles(self) -> list[Any]:
        now = [sys.stdout, sys.stderr]
        targets = [s._target for s in now if type(s) is _Proxy]
        return [s for s in (*now, *targets, sys.__stdout__, sys.__stderr__) if s is not None]

    def enter(self) -> None:
        with self._lock:
            self._captures += 1
            if self._captures == 1 and logging.Logger.callHandlers is not _call_handlers:
                self.call_handlers = logging.Logger.callHandlers
                logging.Logger.callHandlers = _call_handlers  # type: ignore[assignment]
            bars.attach(_own_stream)
        self.attach()

    def attach(self) -> None:
        with self._lock:
            if not self._captures:
                return
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if stream is not None and type(stream) is not _Proxy:
                    setattr(sys, name, _Proxy(name, stream))
            if warnings.showwarning is not _showwarning:
                self.showwarning = warnings.showwarning
                warnings.showwarning = _showwarning

    def leave(self) -> None:
        with self._lock:
            self._captures -= 1
            if self._captures:
                return
            bars.detach()
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if type(stream) is _Proxy:
                    setattr(sys, name, stream._target)
            # What someone else has put in the place of ours since is theirs to keep.
            if warnings.showwarning is _showwarning:
                warnings.showwarning = self.showwarning
            if logging.Logger.callHandlers is _call_handlers:
                logging.Logger.callHandlers = self.call_handlers  # type: ignore[method-assign]


_router: Final = _Router()
