"""What nobody would do to a message, in either form: callers that lie about their types, and code that runs meanwhile.

A class of a caller's own may run code where the C twin reads, compares or frees a value; nothing of that is a crash.
"""

from __future__ import annotations

import copy
import gc
import importlib
import pickle
import sys
import time
import weakref
from typing import Any, Final

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.native import twin
from opencscf.common.sip.head import Head, scanner
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.params import NO_PARAMS, Params

SCAN: Final[Any] = scanner
VALUES: Final[Any] = twin("opencscf.common.sip._values")
needs_scan: Final = pytest.mark.skipif(SCAN is None, reason="the C twin was not built, or is not wanted")
needs_values: Final = pytest.mark.skipif(VALUES is None, reason="the C twin was not built, or is not wanted")


def test_a_message_can_answer_itself() -> None:
    message = Response.new(200, "OK", [("Via", "a"), ("From", "b"), ("To", "c"), ("Via", "d")])
    message.answer(message, ";tag=1")
    assert message.get_all("via") == ["a", "d", "a", "d"]
    assert message.get_all("to") == ["c;tag=1", "c"]


def test_an_answer_adds_no_line() -> None:
    request = Request.new("INVITE", "sip:b", [("To", "c")])
    message = Response.new(200, "OK", [])
    with pytest.raises(ValueError, match="a line end"):
        message.answer(request, ";tag=1\r\nX-Injected: 1")
    assert not message.has("to")


def test_a_status_may_be_of_any_size() -> None:
    message = Response.new(10**30, "x", [])
    message.answer(Request.new("INVITE", "sip:b", [("Via", "a")]), "")
    assert message.get("via") == "a"


def test_a_finalizer_that_edits_its_message() -> None:
    found: list[object] = []

    class Last:
        def __del__(self) -> None:
            for read in (repr, bytes, lambda message: message.second_part, lambda message: message.copy()):
                try:
                    found.append(read(message))
                except (AttributeError, TypeError) as error:
                    found.append(type(error))
            message.append("X-Late", "1")

    message: Any = Head("INVITE", "sip:a", [("Via", "x"), ("Route", "y")])
    message.flow = Last()
    message.__init__("BYE", "sip:b", [("To", "z")])
    message.flow = None
    gc.collect()
    assert len(found) == 4
    assert message.second_part == "sip:b"
    assert message.get("to") == "z"


@needs_scan
def test_a_start_line_that_changes_while_it_is_written() -> None:
    class Method(str):
        __slots__ = ()

        def __str__(self) -> str:
            message.__init__("OTHER" * 50, "sip:other" * 50)
            return "INVITE"

    message: Any = Head(Method("INVITE"), "sip:a" * 50)
    message.second_part = "sip:b" * 50
    assert message.start_line.endswith(" SIP/2.0")


def test_a_list_that_changes_while_a_message_is_made_of_it() -> None:
    class Name(str):
        __slots__ = ()

        def __hash__(self) -> int:
            headers.clear()
            header.clear()
            return 0

        def __eq__(self, other: object) -> bool:
            return False

    header: list[str] = [Name("X-" + "a" * 20), "b" * 100]
    headers = [header]
    assert isinstance(bytes(Head("INVITE", "sip:a", headers)), bytes)  # type: ignore[arg-type]  # a list, not a tuple


def test_a_set_whose_members_edit_the_message() -> None:
    class Name(str):
        __slots__ = ()

        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            message.remove("x-rare")
            return False

    message = Head("INVITE", "sip:a", [("X-Rare", "1"), ("X-Rare", "2")])
    assert not message.has_any(frozenset({Name("x-rare")}))
    message.append("X-Rare", "3")
    message.remove_all(frozenset({Name("x-rare")}))


@pytest.mark.parametrize("names", [["via"], 5, None])
@needs_scan
def test_names_that_are_no_set(names: Any) -> None:
    message = Head("INVITE", "sip:a", [("Via", "x")])
    for take in (message.has_any, message.remove_all):
        with pytest.raises(TypeError):
            take(names)


@needs_scan
def test_a_field_that_was_never_initialised() -> None:
    for kind in (SCAN.Required, SCAN.Optional, SCAN.Many):
        with pytest.raises(TypeError, match="without a name"):
            kind.__new__(kind).__get__(Head("INVITE", "sip:a"), Head)


@needs_scan
def test_a_field_whose_reader_changes_while_it_reads() -> None:
    class Reader:
        def __call__(self, text: str) -> tuple[str, ...]:
            for field in (one, many):
                field.__init__("subject", str)
            return (text,)

    one, many = SCAN.Required("subject", Reader()), SCAN.Many("subject", Reader())
    message = Head("INVITE", "sip:a", [("Subject", "x"), ("Subject", "y")])
    assert one.__get__(message, Head) == ("x",)
    assert message.copy().get("subject") == "x"
    assert list(many.__get__(Head("INVITE", "sip:a", [("Subject", "x")]), Head))


@needs_scan
def test_a_method_that_is_no_token() -> None:
    class Odd(Head):
        cseq = type("Sequence", (), {"method": "\xe9" * 300})()

    odd = Odd("INVITE", "sip:a", [("Via", "SIP/2.0/UDP h;branch=z9hG4bKa"), ("CSeq", "bad")])
    with pytest.raises(ParseError, match="a method is a token"):
        _ = odd.transaction_id


@needs_scan
@pytest.mark.parametrize("way", ["assign_to", "second_part"])
def test_the_collector_finds_what_a_message_holds(way: str) -> None:
    class Text(str):
        __slots__ = ("holder",)

    class Kept(Request):
        __slots__ = ("__weakref__",)

    message: Any = Kept("INVITE", "sip:a")
    text: Any = Text("x")
    text.holder = message
    if way == "assign_to":
        message.assign_to(text)
    else:
        message.second_part = text
    alive = weakref.ref(message)
    del message, text
    gc.collect()
    assert alive() is None


def test_a_long_chain_of_messages() -> None:
    message: Any = Head("INVITE", "sip:a")
    message.flow = {1}  # stands for what the innermost holds
    innermost = weakref.ref(message.flow)
    for _ in range(100_000):
        outer: Any = Head("INVITE", "sip:a")
        outer.flow, message = message, outer
    assert innermost() is not None
    del outer, message
    assert innermost() is None


@needs_scan
def test_a_message_is_not_pickled() -> None:
    for refused in (Request("INVITE", "sip:a"), SCAN.Required("via", str)):
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle"):
                take(refused)


def test_a_message_without_lines() -> None:
    empty = Head.of_lines("INVITE", "sip:a", "INVITE sip:a SIP/2.0", [])
    assert bytes(empty.copy()) == bytes(empty) == b"INVITE sip:a SIP/2.0\r\n\r\n"


@needs_values
def test_a_name_whose_lower_case_is_no_text() -> None:
    class Name(str):
        __slots__ = ()

        def lower(self) -> Any:
            return 5

    params = Params((("abc", "d"), ("efg", None)))
    for find in (VALUES.get, VALUES.has):
        with pytest.raises(TypeError):
            find(params, Name("ABC"))


@needs_values
@pytest.mark.parametrize("kind", [time.struct_time, tuple, int, "Via", None])
def test_a_value_of_a_type_with_other_fields(kind: Any) -> None:
    texts = ((VALUES.via, "SIP/2.0/UDP h"), (VALUES.name_addr, "<sip:a>"), (VALUES.sip_uri, "sip:a"))
    for read, text in texts:
        with pytest.raises(TypeError, match="a subclass of tuple"):
            read(kind, NO_PARAMS, text)


def test_another_interpreter_gets_the_python_form() -> None:
    interpreters: Any
    try:
        interpreters = importlib.import_module("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    except ImportError:
        pytest.skip("no interpreters but one")
    other = interpreters.create()
    told = interpreters.run_string(
        other,
        "from opencscf.common.sip.head import scanner\n"
        "from opencscf.common.sip.params import _native\n"
        "from opencscf.common.sip.message import Request\n"
        "assert bytes(Request.new('INVITE', 'sip:a', [])).startswith(b'INVITE')\n"
        "assert scanner is None and _native is None\n",
    )
    assert told is None
    interpreters.destroy(other)


@needs_scan
def test_a_twin_that_is_imported_twice() -> None:
    name = SCAN.__name__
    kept = sys.modules.pop(name)
    try:
        again = importlib.import_module(name)
    finally:
        sys.modules[name] = kept
    assert again.Head is SCAN.Head


def test_a_source_is_noted_while_the_message_changes() -> None:
    class Odd(Request):
        @property
        def cseq(self) -> Any:  # type: ignore[override]  # which a descriptor is elsewhere
            self.set("Via", "SIP/2.0/UDP h;branch=z9hG4bKother;rport")
            return type("Sequence", (), {"method": "INVITE"})()

    via = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa" + "b" * 500 + ";rport"
    odd: Any = Odd("INVITE", "sip:a", [("Via", via), ("CSeq", "bad")])
    odd.note_source("192.0.2.7", 5070)
    assert odd.get("via").endswith(";rport=5070;received=192.0.2.7")
