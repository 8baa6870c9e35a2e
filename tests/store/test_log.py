from __future__ import annotations

from nbtrain import messages as m
from nbtrain.store.log import MAX_CHARACTERS, MAX_LINES, LogLine, LogLines


def logged(text: str, *, replace: bool = False, stream: str = "stdout") -> m.Logged:
    return m.Logged(run="a", stream=stream, text=text, replace=replace)


def test_lines_are_kept_with_their_stream() -> None:
    log = LogLines()
    log.add(logged("one\ntwo\n"))
    log.add(logged("three", stream="stderr"))
    assert log.lines == (
        LogLine("stdout", "one"),
        LogLine("stdout", "two"),
        LogLine("stderr", "three"),
    )
    assert log.total == 3
    assert log.text == "one\ntwo\nthree"


def test_a_progress_bar_takes_one_line() -> None:
    log = LogLines()
    log.add(logged("before"))
    log.add(logged("10 %", stream="stderr"))
    for percent in range(20, 110, 10):
        log.add(logged(f"{percent} %", replace=True, stream="stderr"))
    assert log.text == "before\n100 %"
    assert log.total == 2


def test_a_reader_gets_what_came_after_the_lines_it_has() -> None:
    log = LogLines()
    for number in range(10):
        log.add(logged(str(number)))
    assert [line.text for line in log.after(7)] == ["7", "8", "9"]
    assert log.after(10) == log.after(99) == ()
    assert len(log.after(-5)) == 10


def test_the_log_is_bounded_in_lines_and_still_counts_all() -> None:
    log = LogLines()
    for number in range(10_000):
        log.add(logged(str(number)))
    assert log.total == 10_000
    assert len(log.lines) == MAX_LINES
    assert [line.text for line in log.after(9_999)] == ["9999"]
    assert log.after(0) == log.lines
    assert log.lines[-1].text == "9999"


def test_the_log_is_bounded_in_characters() -> None:
    log = LogLines()
    for _ in range(100):
        log.add(logged("x" * 10**6))
    assert log.total == 100
    assert 0 < len(log.text) <= MAX_CHARACTERS
    held = log.lines
    log.add(logged("y" * 10**6))
    assert "y" not in held[-1].text


def test_a_log_shows_its_last_lines_and_gives_all_it_keeps() -> None:
    log = LogLines()
    assert repr(log) == "Nothing was printed."
    for number in range(100):
        log.add(logged(f"line {number}\n"))
    assert repr(log).splitlines()[:2] == ["… 60 earlier lines", "line 60"]
    assert [str(line) for line in log] == [f"line {number}" for number in range(100)]
    assert len(log) == 100
