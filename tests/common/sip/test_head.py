"""The head of a message in its two forms: whatever comes in, the C twin and the Python reference say the same."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opencscf.common import native
from opencscf.common.errors import ParseError
from opencscf.common.sip import head as native_head
from opencscf.common.sip import parser as native_parser

FIXTURES: Final = [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "fixtures").rglob("*.sip"))]
MODULES: Final = tuple(f"opencscf.common.sip.{name}" for name in ("head", "message", "parser"))
PROPERTIES: Final = (
    "start_line", "method", "uri", "status", "reason", "via", "branch", "from_", "to", "from_tag", "to_tag", "call_id",
    "cseq", "max_forwards", "expires", "content_type", "contacts", "is_contact_star", "routes", "record_routes",
    "path", "service_route", "transaction_id", "invite_transaction_id", "client_transaction_id", "size", "body",
)  # fmt: skip
NAMES: Final = (
    "Via", "v", "From", "to", "CSeq", "Call-ID", "Route", "ROUTE", "Record-Route", "Contact", "m", "Content-Length",
    "Content-Type", "Max-Forwards", "Supported", "X-Unknown", "x-unknown", "X-Other ", "Timestamp", "", "a b", "\u212a",
)  # fmt: skip
VALUES: Final = (
    "", " ", "70", "<sip:a@b;lr>", "<sip:a@b;lr>, <sip:c;lr>", '"a, b" <sip:x>, <sip:y,z>', "<sip:a", "a,,b", "*",
    "SIP/2.0/UDP h:5070;branch=z9hG4bKx", "SIP/2.0/UDP H;branch=z9hG4bK", " SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKy ",
    "SIP / 2.0 / UDP h ;branch=1, SIP/2.0/UDP i",
    "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKz", "SIP/2.0/UDP h;rport;branch=z9hG4bKz",
    "SIP/2.0/UDP h;branch=z9hG4bKz;RPort", "SIP/2.0/UDP h;branch=z9hG4bKz;rport=1;Received=x",
    "SIP/2.0/UDP h;branch=z9hG4bK-rport;rport, SIP/2.0/UDP i", "SIP/2.0/UDP h;rports;rport;branch=z9hG4bKz",
    "7 INVITE", "8 ACK", "4294967296 ACK", "<sip:a>;tag=1",
    'sip:a;Tag="q"', '"x\\"<" <sip:a>;tag', "h\u00e4 <sip:a>;tag=\udcff", "x\r\ny", "x\ny", "100",
)  # fmt: skip

needs_twin: Final = pytest.mark.skipif(native_head.scanner is None, reason="the C twin was not built, or is not wanted")


def _reference() -> ModuleType:
    """Load the parser once more, as it is without the twin."""
    kept = {name: sys.modules.pop(name) for name in MODULES}
    package = sys.modules["opencscf.common.sip"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(native.PURE_VARIABLE, "1")
        parser = importlib.import_module(MODULES[-1])
    sys.modules.update(kept)
    for name, module in kept.items():
        setattr(package, name.rpartition(".")[2], module)
    return parser


pure_parser: Final = _reference()
FORMS: Final = (pure_parser, native_parser)


def outcome(action: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what came of it in a form that can be compared across the two."""
    try:
        return action(*arguments, **options)
    except ParseError as fault:
        return "fault", type(fault).__name__, fault.reason, fault.status, fault.offset
    except (ValueError, AttributeError) as fault:
        return type(fault).__name__


def described(message: Any) -> Any:
    """Say all there is to know about a message, or about anything else."""
    if not hasattr(message, "start_line"):
        return message
    names = {line.partition(":")[0] for line in bytes(message).decode("utf-8", "replace").splitlines()}
    facts = [bytes(message), repr(message), type(message).__name__]
    facts += [outcome(getattr, message, name) for name in PROPERTIES]
    for name in sorted(names | set(NAMES)):
        facts += [outcome(getattr(message, read), name) for read in ("get", "get_all", "values", "has")]
        facts.append(message.has_any(frozenset({name.lower(), "x-nobody"})))
    return facts


def mutated(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Cut something out of a message and put something else in, at places from 0 to 9999 for its whole length."""
    for place, length, new in changes:
        at = len(data) * place // 10_000
        data = data[:at] + new + data[at + length :]
    return data


PIECES: Final = st.one_of(st.binary(max_size=4), st.sampled_from((
    b"", b"\r\n", b"\r\n ", b"\r", b"\n", b"\0", b"\\\0", b":", b";", b",", b'"', b"<", b">", b" ", b"\t", b"=", b"?",
    b"\xff", b"\xc3\xa9", b"\xe2\x84\xaa", b"\xc5\xbf", b"z9hG4bK", b";tag=", b"\r\nl: 0", b"\r\nVia: x",
    b"\r\nk:\r\n\ta", b"99999999999", b"SIP/2.0", b"sip/3.1", b"SIP/2.0 200 ", b"ACK ", b"\r\n\r\n",
    b"\r\nSubject\r\n : x",
)))  # fmt: skip
CHANGES: Final = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 12), PIECES), max_size=5)
MESSAGES: Final = st.builds(mutated, st.sampled_from(FIXTURES), CHANGES)
_NAME, _VALUE = st.sampled_from(NAMES), st.sampled_from(VALUES)
EDITS: Final = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["set", "prepend", "append", "replace_first_value"]), _NAME, _VALUE),
        st.tuples(st.sampled_from(["remove", "remove_first_value"]), _NAME),
        st.tuples(st.just("remove_all"), st.frozensets(_NAME.map(str.lower), max_size=4)),
        st.tuples(st.just("set_body"), st.binary(max_size=3), _VALUE),
        st.tuples(st.sampled_from(["copy", "read", "replace_via", "assign", "uri", "answer", "source"])),
    ),
    max_size=8,
)


def edited(form: ModuleType, message: Any, edits: list[tuple[Any, ...]]) -> Iterator[Any]:
    """Do to a message what the rows say, and tell after each step what became of it."""
    for name, *arguments in edits:
        match name:
            case "copy":
                original, message = message, message.copy()
                yield message == original, message != original
            case "read":
                yield described(message)
            case "replace_via":
                yield outcome(_note_received, message)
            case "assign":
                message.assign_to("key")
            case "source":
                yield outcome(message.note_source, "192.0.2.1", 5070)
            case "uri":
                yield outcome(setattr, message, "uri", "sip:b\u00e4@x")
            case "answer":
                yield outcome(_answers, form, message)
            case _:
                yield outcome(getattr(message, name), *arguments)
        yield bytes(message), outcome(getattr, message, "transaction_id")
    yield described(message)


def _note_received(message: Any) -> None:
    message.replace_via(message.via.with_params(received="192.0.2.1"))


def _answers(form: ModuleType, message: Any) -> list[Any]:
    make = vars(form)["Response"].to_request
    return [described(make(message, status, to_tag="ours", headers=[("X", "y")])) for status in (100, 200)]


@needs_twin
@given(MESSAGES, st.booleans())
@example(b"", True)
@example(b"\r\n\r\n\r\n", True)
@example(b"SIP/2.0 200 OK\r\nv: 1\r\nf: 1\r\nt: 1\r\ni: 1\r\nCSeq: 1 A\r\nc\r\n\r\n", True)
@example(b"\xc5\xbfIP/2.0 200 OK\r\nv: 1\r\nf: 1\r\nt: 1\r\ni: 1\r\nCSeq: 1 A\r\n\r\n", True)
def test_both_forms_read_the_same(data: bytes, datagram: bool) -> None:  # noqa: FBT001
    pure, native_form = (described(outcome(form.parse, data, datagram=datagram)) for form in FORMS)
    assert native_form == pure
    pure, native_form = (described(outcome(form.parse_for_rejection, data)) for form in FORMS)
    assert native_form == pure


@needs_twin
@given(st.binary(max_size=300))
def test_both_forms_read_any_bytes(data: bytes) -> None:
    head = data + b"\r\n\r\n"
    pure, native_form = (described(outcome(form.parse, head)) for form in FORMS)
    assert native_form == pure


@needs_twin
@given(MESSAGES, EDITS)
@example(FIXTURES[0], [("set", "Route", "<sip:a@b;lr> ,, <sip:c;lr>"), *[("remove_first_value", "Route")] * 3])
@example(
    FIXTURES[0],
    [
        *[("append", "Route", route) for route in ("<sip:a@b;lr>, <sip:c;lr>", "", "<sip:d>")],
        *[("read",), ("remove_first_value", "Route")] * 5,
    ],
)
@example(FIXTURES[0], [("remove_all", frozenset({"content-length", "via", "cseq", "contact", "max-forwards"}))])
def test_both_forms_edit_the_same(data: bytes, edits: list[tuple[Any, ...]]) -> None:
    steps = []
    for form in FORMS:
        message = outcome(form.parse, data)
        steps.append(list(edited(form, message, edits)) if hasattr(message, "start_line") else [message])
    assert steps[1] == steps[0]


@needs_twin
@pytest.mark.parametrize("via", [value for value in VALUES if "SIP" in value])
@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "h"])
def test_both_forms_note_the_same_source(via: str, host: str) -> None:
    found = []
    for form in FORMS:
        message = form.parse(FIXTURES[0])
        message.set("Via", via)
        found.append((outcome(message.note_source, host, 5070), described(message)))
    assert found[1] == found[0]


@needs_twin
@given(st.lists(MESSAGES, max_size=3), st.integers(1, 400))
def test_both_forms_cut_streams_the_same(messages: list[bytes], size: int) -> None:
    stream = b"".join(messages)
    found: list[list[Any]] = []
    for form in FORMS:
        parser = form.StreamParser()
        items: list[Any] = []
        for at in range(0, len(stream), size):
            try:
                items += parser.feed(stream[at : at + size])
            except form.FramingLost as lost:
                items += [*lost.items, (lost.reason, lost.status, lost.data)]
                break
        found.append([str(_malformed(item) if hasattr(item, "error") else described(item)) for item in items])
    assert found[1] == found[0]


def _malformed(item: Any) -> Any:
    return item.data, item.error.reason, item.error.status, item.error.offset


@needs_twin
@pytest.mark.parametrize("lines", [4000, 201, 200, 64, 65])
@pytest.mark.parametrize("length", [1, 8192, 8193])
def test_both_forms_have_the_same_limits(lines: int, length: int) -> None:
    for filler in (b"x", b"\xc3\xa9"):
        line = b"X: " + filler * (length - 3)
        data = FIXTURES[0].replace(b"\r\n", b"\r\n" + line + b"\r\n" + b"A:\r\n" * lines, 1)
        pure, native_form = (described(outcome(form.parse, data)) for form in FORMS)
        assert native_form == pure
