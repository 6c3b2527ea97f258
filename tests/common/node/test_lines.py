import io
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from opencscf.common.node.clock import FakeClock
from opencscf.common.node.lines import MAX_KEPT_BYTES, LineWriter
from opencscf.common.node.log import Log

LINE = "x" * 99 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        yield reading, stream
    os.close(reading)


def read(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while piece := os.read(descriptor, 1 << 16):
            data += piece
    except BlockingIOError:
        pass
    return data


def test_a_turns_lines_are_written_together(pipe: tuple[int, TextIO]) -> None:
    turn: list[Callable[[], None]] = []
    writer = LineWriter(pipe[1], turn.append)
    writer.write("a\n")
    writer.write("b\n")
    assert read(pipe[0]) == b""
    [end_of_turn] = turn
    end_of_turn()
    assert read(pipe[0]) == b"a\nb\n"
    writer.write("c\n")
    writer.close()
    writer.write("d\n")
    assert read(pipe[0]) == b"c\nd\n"


def test_nobody_waits_for_a_full_pipe_and_what_it_did_not_take_follows(pipe: tuple[int, TextIO]) -> None:
    writer = LineWriter(pipe[1])
    count = 0
    while not writer.lost:
        writer.write(LINE)
        count += 1
    assert MAX_KEPT_BYTES < 100 * count < 3 * MAX_KEPT_BYTES
    got = b""
    while data := read(pipe[0]):
        got += data
        writer.flush()
    assert got == LINE.encode() * (count - 1)


def test_lost_lines_are_told(pipe: tuple[int, TextIO]) -> None:
    log = Log("icscf", FakeClock(), stream=pipe[1])
    for _ in range(6_000):
        log.info("story", text="x" * 99)
    text = b""
    for _ in range(20):
        log.flush()
        text += read(pipe[0])
    told = text.count(b" story ")
    assert told < 6_000
    assert f"warning lost  node=icscf lines={6_000 - told}\n".encode() in text


def test_a_reader_that_went_away_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        writer = LineWriter(stream)
        writer.write(LINE)
        writer.close()
        assert writer.take_lost() == 0  # nobody is left to be told


def test_a_file_and_a_socket_take_all(tmp_path: Path) -> None:
    text = LINE * 2_000
    with (tmp_path / "log").open("w") as stream:
        LineWriter(stream).write(text)
    assert (tmp_path / "log").read_text() == text
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("w") as stream:
        LineWriter(stream).write(LINE)
        assert theirs.recv(1000) == LINE.encode()


def test_a_stream_inside_the_process_is_written_to() -> None:
    stream = io.StringIO()
    LineWriter(stream).write(LINE)
    assert stream.getvalue() == LINE


def test_an_error_does_not_wait_for_the_end_of_the_turn() -> None:
    stream = io.StringIO()
    log = Log("icscf", FakeClock(), stream=stream, later=lambda _: None)
    log.info("a")
    assert stream.getvalue() == ""
    log.error("b")
    assert [line.split()[2] for line in stream.getvalue().splitlines()] == ["a", "b"]
