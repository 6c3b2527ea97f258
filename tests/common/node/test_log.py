import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.node.clock import FakeClock
from opencscf.common.node.log import LINES_PER_SECOND, MAX_VALUE, Log, quote, timestamp
from opencscf.common.node.settings import LogLevel


class Lines:
    """A log whose lines can be read, without their timestamps."""

    def __init__(self, level: LogLevel = LogLevel.INFO) -> None:
        self.stream = io.StringIO()
        self.clock = FakeClock(1_790_000_000.25)
        self.log = Log("scscf", self.clock, level, stream=self.stream)

    def take(self) -> list[str]:
        text = self.stream.getvalue()
        self.stream.truncate(0)
        self.stream.seek(0)
        return [line.partition("Z ")[2] or line for line in text.splitlines()]


def test_a_line_has_time_level_event_and_fields() -> None:
    lines = Lines()
    lines.log.info("registered", call_id="a84b4c76", cseq=2, impu="sip:alice@ims.test;x=1", impi=None)
    assert lines.stream.getvalue() == (
        "2026-09-21T14:13:20.250Z info registered  node=scscf call_id=a84b4c76 cseq=2 impu=sip:alice@ims.test;x=1\n"
    )


def test_only_lines_of_the_wanted_level_are_written() -> None:
    lines = Lines(LogLevel.WARNING)
    lines.log.debug("a")
    lines.log.info("b")
    lines.log.warning("c")
    lines.log.error("d")
    assert lines.take() == ["warning c  node=scscf", "error d  node=scscf"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("a\r\n2026 error forged  node=x", '"a\\r\\n2026 error forged  node=x"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\x9b\u2028\udce9", '"\\u009b\\u2028\\udce9"'),
        (1.5, "1.5"),
    ],
)
def test_values_are_quoted_when_needed(value: object, written: str) -> None:
    assert quote(value) == written


@given(st.text())
def test_no_value_starts_a_line_or_leaves_ascii(text: str) -> None:
    assert quote(text).isascii()
    assert quote(text).isprintable()


def test_long_values_are_cut() -> None:
    assert quote("x" * 10_000) == "x" * MAX_VALUE + "..."


def test_a_traceback_follows_in_indented_lines() -> None:
    lines = Lines()
    lines.log.error("fault", traceback="Traceback:\n  File x\nValueError: \x1b[31m\n", call_id="1")
    assert lines.take() == [
        "error fault  node=scscf call_id=1",
        "    Traceback:",
        "      File x",
        "    ValueError: \\u001b[31m",
    ]


def test_a_flood_of_one_warning_is_cut_and_counted() -> None:
    lines = Lines()
    for _ in range(LINES_PER_SECOND + 100):
        lines.log.warning("malformed")
    lines.log.warning("other")
    assert len(lines.take()) == LINES_PER_SECOND + 1
    lines.clock.advance(1.0)
    lines.log.warning("malformed")
    assert lines.take() == ["warning suppressed  node=scscf event=malformed lines=100", "warning malformed  node=scscf"]


def test_what_was_cut_is_told_even_if_the_flood_is_over() -> None:
    lines = Lines()
    for _ in range(LINES_PER_SECOND + 7):
        lines.log.warning("malformed")
    lines.take()
    lines.log.flush()
    assert lines.take() == []
    lines.clock.advance(1.0)
    lines.log.flush()
    assert lines.take() == ["warning suppressed  node=scscf event=malformed lines=7"]
    lines.log.close()
    assert lines.take() == []


def test_the_story_is_never_cut() -> None:
    lines = Lines()
    for _ in range(5 * LINES_PER_SECOND):
        lines.log.info("registered")
    assert len(lines.take()) == 5 * LINES_PER_SECOND


def test_a_closed_stderr_does_not_end_the_node() -> None:
    lines = Lines()
    lines.stream.close()
    lines.log.info("registered")


def test_timestamp_is_utc_with_milliseconds() -> None:
    assert timestamp(0.0) == "1970-01-01T00:00:00.000Z"
