"""The head of a message: start line and header lines with an index of names (RFC 3261 7.3), and what identifies it.

Nothing is parsed before somebody asks, edits are splices of lines, and a header field that nobody touched leaves as it
came. This form is the reference; `_scan.c` has its twin, over the original bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, overload

from opencscf.common.errors import ParseError
from opencscf.common.native import twin
from opencscf.common.sip.flow import Flow
from opencscf.common.sip.headers import CSeq, NameAddr, Via, parse_call_id
from opencscf.common.sip.names import canonical_name
from opencscf.common.sip.params import split_elements

DEFAULT_PORT: Final = 5060  # RFC 3261 19.1.2
ENCODING: Final = "utf-8"
ERRORS: Final = "surrogateescape"  # octets that are no UTF-8 come out as they came in

_FOLD: Final = re.compile(r"[ \t]*+\r\n[ \t]++")
_TRANSACTION: Final = "#transaction"  # in the cache; no header field can have this name
_IN_TRANSACTION: Final = frozenset({"via", "from", "call-id", "cseq"})  # what the transaction's key is made of
_COPIED_TO_RESPONSES: Final = ("via", "from", "to", "call-id", "cseq")  # 8.2.6.2

T = TypeVar("T")


def _typed(head: Head, name: str, parse: Callable[[str], T]) -> T | None:
    """Return a header field as it was parsed before, or parse it now; None if it is absent."""
    cached: T | None = head.cache.get(name)
    if cached is None:
        text = head.get(name)
        if text is None:
            return None
        cached = head.cache[name] = parse(text)
    return cached


class Required(Generic[T]):
    """A header field that must be there as a typed value: ParseError 400 if it is absent or malformed."""

    __slots__ = ("name", "parse")

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        self.name = name  # canonical
        self.parse = parse

    @overload
    def __get__(self, head: None, owner: type) -> Self: ...
    @overload
    def __get__(self, head: Head, owner: type) -> T: ...
    def __get__(self, head: Head | None, owner: type) -> T | Self:
        if head is None:
            return self
        found = _typed(head, self.name, self.parse)
        if found is None:
            raise ParseError(f"no {self.name} header field")
        return found


class Optional(Generic[T]):
    """A header field as a typed value, and what stands for it if it is absent; ParseError 400 if it is malformed."""

    __slots__ = ("absent", "name", "parse")

    def __init__(self, name: str, parse: Callable[[str], T], absent: T) -> None:
        self.name = name
        self.parse = parse
        self.absent = absent

    @overload
    def __get__(self, head: None, owner: type) -> Self: ...
    @overload
    def __get__(self, head: Head, owner: type) -> T: ...
    def __get__(self, head: Head | None, owner: type) -> T | Self:
        if head is None:
            return self
        found = _typed(head, self.name, self.parse)
        return self.absent if found is None else found


class Many(Generic[T]):
    """The typed values of all lines of a name, in a list of the caller's own; ParseError 400 if one is malformed."""

    __slots__ = ("name", "parse")

    def __init__(self, name: str, parse: Callable[[str], tuple[T, ...]]) -> None:
        self.name = name
        self.parse = parse  # of one line

    @overload
    def __get__(self, head: None, owner: type) -> Self: ...
    @overload
    def __get__(self, head: Head, owner: type) -> list[T]: ...
    def __get__(self, head: Head | None, owner: type) -> list[T] | Self:
        if head is None:
            return self
        cached: tuple[T, ...] | None = head.cache.get(self.name)
        if cached is None:
            lines = [self.parse(value) for value in head.get_all(self.name) if value]
            cached = head.cache[self.name] = lines[0] if len(lines) == 1 else tuple(chain.from_iterable(lines))
        return list(cached)


class SecondPart:
    """The Request-URI or the reason; the start line changes with it."""

    __slots__ = ()

    @overload
    def __get__(self, head: None, owner: type) -> Self: ...
    @overload
    def __get__(self, head: Head, owner: type) -> str: ...
    def __get__(self, head: Head | None, owner: type) -> str | Self:
        return self if head is None else head._second  # noqa: SLF001 - of the same making

    def __set__(self, head: Head, text: str) -> None:
        _refuse_line_ends(text)
        first = head.first_part
        head._second = text  # noqa: SLF001
        head._start = f"SIP/2.0 {first} {text}" if isinstance(first, int) else f"{first} {text} SIP/2.0"  # noqa: SLF001


class Head:
    """A message's start line, header lines, body and flow. Names may be given in any case, in their long form.

    The start line is made of its two parts: method and Request-URI, or status and reason; they are `str`, but for the
    status.
    """

    __slots__ = ("_framed", "_lines", "_names", "_second", "_start", "body", "cache", "first_part", "flow")

    body: bytes
    flow: Flow | None
    first_part: Any  # str in a request, int in a response: the classes there say so
    second_part = SecondPart()
    _second: str
    _start: str

    def __init__(
        self,
        first_part: str | int,
        second_part: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> None:
        """Make a message of our own; Content-Length comes by itself."""
        self.first_part = first_part
        self.second_part = second_part  # noqa: PLE0237 - it is a descriptor, which writes the start line
        self._lines: list[str] = []  # "Name: value", folded lines with their line ends inside
        self._names: list[str] = []  # the canonical name of each line
        self.cache: dict[str, Any] = {}  # typed values of many types, by canonical name; for this module alone
        self._framed = True  # whether Content-Length is there and right
        self.body = body
        self.flow = None
        for name, value in headers:
            canonical = canonical_name(name)
            if canonical != "content-length":
                self._lines.append(_line(name, value))
                self._names.append(canonical)
        if content_type and body:
            self._lines.append(_line("Content-Type", content_type))
            self._names.append("content-type")
        self._lines.append(f"Content-Length: {len(body)}")
        self._names.append("content-length")

    @classmethod
    def of_lines(
        cls, first_part: str | int, second_part: str, start: str, lines: list[str], names: list[str] | None = None
    ) -> Self:
        """Make a message of lines as they came; `names`, if they are known already, spares reading them again."""
        head = object.__new__(cls)
        head.first_part = first_part
        head._second = second_part
        head._start = start
        head._lines = lines
        head._names = names = [canonical_name(line.partition(":")[0]) for line in lines] if names is None else names
        head.cache = {}
        head._framed = "content-length" in names
        head.body = b""
        head.flow = None
        return head

    # Reading

    @property
    def start_line(self) -> str:
        """The first line, without its end."""
        return self._start

    def get(self, name: str) -> str | None:
        """Return the value of the first line of this name, unfolded; None if there is none."""
        try:
            return _value(self._lines[self._names.index(canonical_name(name))])
        except ValueError:
            return None

    def get_all(self, name: str) -> list[str]:
        """Return the value of each line of this name."""
        canonical = canonical_name(name)
        values: list[str] = []
        position = -1
        for _ in range(self._names.count(canonical)):
            position = self._names.index(canonical, position + 1)
            values.append(_value(self._lines[position]))
        return values

    def values(self, name: str) -> list[str]:
        """Return the comma-separated elements of all lines of this name, in order.

        Not for Date, WWW-Authenticate and others whose commas separate no elements (7.3.1).
        """
        elements: list[str] = []
        for value in self.get_all(name):
            if value:
                elements += split_elements(value)
        return elements

    def has(self, name: str) -> bool:
        """Whether there is a line of this name."""
        return canonical_name(name) in self._names

    def has_any(self, canonical_names: frozenset[str]) -> bool:
        """Whether there is a line of any of these names, which are given in lower case."""
        return not canonical_names.isdisjoint(self._names)

    # What a message is known by

    via = Required("via", lambda text: Via.parse(split_elements(text)[0] if "," in text else text))  # the topmost one
    from_ = Required("from", NameAddr.parse)
    to = Required("to", NameAddr.parse)
    call_id = Required("call-id", parse_call_id)
    cseq = Required("cseq", CSeq.parse)

    @property
    def branch(self) -> str | None:
        """The branch of the topmost Via (8.1.1.7)."""
        return self.via.branch

    @property
    def from_tag(self) -> str | None:
        """The tag of From, None if it has none."""
        return self.from_.tag

    @property
    def to_tag(self) -> str | None:
        """The tag of To, None outside a dialog."""
        return self.to.tag

    @property
    def transaction_id(self) -> str:
        """The key of the server transaction (17.2.3).

        An ACK has its INVITE's, a CANCEL its own, a response its request's. Without the magic cookie in the branch it
        follows RFC 2543, leaving out the To tag, which an ACK has and its INVITE has not, and the Request-URI, which a
        response has not.
        """
        key: str | None = self.cache.get(_TRANSACTION)
        if key is None:
            method = self.cseq.method
            key = self.cache[_TRANSACTION] = transaction_key(self, "INVITE" if method == "ACK" else method)
        return key

    @property
    def invite_transaction_id(self) -> str:
        """The key of the INVITE server transaction that this CANCEL or ACK belongs to (9.2, 17.2.3)."""
        return transaction_key(self, "INVITE")

    @property
    def client_transaction_id(self) -> str:
        """The key of the client transaction that a response belongs to, or a request that we sent (17.1.3)."""
        return f"{self.branch or ''}|{self.cseq.method}"

    def assign_to(self, transaction_id: str) -> None:
        """Make this part of a server transaction that is known, whatever the Via left on it says."""
        self.cache[_TRANSACTION] = transaction_id

    # Editing

    def copy(self) -> Self:
        """Return a message of its own with the same content and flow."""
        twin = object.__new__(type(self))
        twin.first_part = self.first_part
        twin._second = self._second
        twin._start = self._start
        twin._lines = self._lines.copy()
        twin._names = self._names.copy()
        twin.cache = self.cache.copy()
        twin._framed = self._framed
        twin.body = self.body
        twin.flow = self.flow
        return twin

    def set(self, name: str, value: str) -> None:
        """Make this the only line of its name, where the first one was, else at the end."""
        canonical = canonical_name(name)
        line = _line(name, value)
        try:
            position = self._names.index(canonical)
        except ValueError:
            position = len(self._names)
        if self._names.count(canonical) > 1:
            self._drop(canonical, position + 1)
        self._splice(position, position + 1, canonical, line)

    def prepend(self, name: str, value: str) -> None:
        """Add a line above the first one of its name, else at the top."""
        canonical = canonical_name(name)
        position = self._names.index(canonical) if canonical in self._names else 0
        self._splice(position, position, canonical, _line(name, value))

    def append(self, name: str, value: str) -> None:
        """Add a line below the last one of its name, else at the end."""
        canonical = canonical_name(name)
        position = len(self._names)
        if canonical in self._names:
            position -= self._names[::-1].index(canonical)
        self._splice(position, position, canonical, _line(name, value))

    def remove(self, name: str) -> None:
        """Take out all lines of this name."""
        canonical = canonical_name(name)
        if canonical in self._names:
            self._drop(canonical, 0)
            self._edited(canonical)

    def remove_all(self, canonical_names: frozenset[str]) -> None:
        """Take out all lines of several names at once, which are given in lower case."""
        if not canonical_names.isdisjoint(self._names):
            for name in canonical_names.intersection(self._names):
                self.remove(name)

    def remove_first_value(self, name: str) -> None:
        """Take out the first comma-separated element of this name, if there is one."""
        self._replace_first_value(canonical_name(name), [])

    def replace_first_value(self, name: str, value: str) -> None:
        """Put a value in the place of the first comma-separated element of this name, if there is one."""
        _refuse_line_ends(value)
        self._replace_first_value(canonical_name(name), [value])

    def replace_via(self, via: Via) -> None:
        """Put a Via in the place of the topmost one."""
        self.replace_first_value("Via", str(via))
        self.cache["via"] = via

    def note_source(self, host: str, port: int) -> int:
        """Write where a request came from into its topmost Via: received and rport (18.2.1, RFC 3581 4).

        It stays in the server transaction that it is in. Return the port that its responses go to over UDP (18.2.2).
        """
        return note_source(self, host, port)

    def set_body(self, body: bytes, content_type: str) -> None:
        """Give the message another body; an empty one takes Content-Type away."""
        self.body = body
        if body:
            self.set("Content-Type", content_type)
        else:
            self.remove("content-type")
        self._frame()

    def answer(self, request: Head, added_to: str) -> None:
        """Put at the top what a response takes over from its request as it is (8.2.6); some text is added to To."""
        _refuse_line_ends(added_to)
        is_trying = self.first_part == 100
        copied = (*_COPIED_TO_RESPONSES, "timestamp") if is_trying else _COPIED_TO_RESPONSES  # 8.2.6.1
        lines: list[str] = []
        names: list[str] = []
        for line, name in zip(request._lines, request._names, strict=True):
            if name in copied:
                lines.append(line + added_to if name == "to" else line)
                names.append(name)
        self._lines[:0] = lines
        self._names[:0] = names
        self.cache.clear()

    # Crossing the wire

    @property
    def size(self) -> int:
        """How many octets the message has."""
        lines = (self._start, *self._lines)
        if all(map(str.isascii, lines)):
            return sum(map(len, lines)) + 2 * len(lines) + 2 + len(self.body)
        return len(bytes(self))

    def __bytes__(self) -> bytes:
        head = "\r\n".join([self._start, *self._lines, "", ""])
        return head.encode(ENCODING, ERRORS) + self.body

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Head) and bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]  # a message may change

    def __repr__(self) -> str:
        return f"<{self._start}>"

    # Within

    def _splice(self, start: int, end: int, canonical: str, line: str) -> None:
        self._lines[start:end] = [line]
        self._names[start:end] = [canonical]
        self._edited(canonical)

    def _drop(self, canonical: str, start: int) -> None:
        """Take out the lines of a name from a position on."""
        names = self._names
        for position in range(len(names) - 1, start - 1, -1):
            if names[position] == canonical:
                del names[position], self._lines[position]

    def _replace_first_value(self, canonical: str, replacement: list[str]) -> None:
        if canonical not in self._names:
            return
        position = self._names.index(canonical)
        name, _, _ = self._lines[position].partition(":")
        elements = replacement + split_elements(_value(self._lines[position]))[1:]
        if elements:
            self._lines[position] = f"{name}: {', '.join(elements)}"
        else:
            del self._lines[position], self._names[position]
        self._edited(canonical)

    def _edited(self, canonical: str) -> None:
        self.cache.pop(canonical, None)
        if canonical in _IN_TRANSACTION:
            self.cache.pop(_TRANSACTION, None)
        if not self._framed or canonical == "content-length":
            self._frame()

    def _frame(self) -> None:
        """Write the Content-Length that the body has (20.14)."""
        line = f"Content-Length: {len(self.body)}"
        if "content-length" in self._names:
            position = self._names.index("content-length")
            self._lines[position] = line
            self._drop("content-length", position + 1)
        else:
            self._lines.append(line)
            self._names.append("content-length")
        self.cache.pop("content-length", None)
        self._framed = True


def transaction_key(head: Head, method: str) -> str:
    """Return the key of a server transaction of this method (17.2.3)."""
    via = head.via
    branch = via.branch or ""
    sent_by = f"{via.host.lower()}:{via.port or DEFAULT_PORT}"
    if branch[:7].lower() == "z9hg4bk" and len(branch) > 7:  # a bare cookie identifies nothing
        return f"{branch}|{sent_by}|{method}"
    return f"{branch}|{sent_by}|{method}|{head.from_tag or ''}|{head.call_id}|{head.cseq.number}"


def note_source(head: Head, host: str, port: int) -> int:
    """Write where a request came from into its topmost Via, and return the port that its responses go to."""
    via, key = head.via, head.transaction_id
    if via.has_rport:
        _fill_rport(head, via, host, port)
    elif via.host != host:
        head.replace_via(via.with_params(received=host))
    head.assign_to(key)
    return port if via.has_rport else via.port or DEFAULT_PORT


def _fill_rport(head: Head, via: Via, host: str, port: int) -> None:
    """Write received and rport into a Via that asks for them: into its text, as long as there is nothing odd in it."""
    text = head.get("Via") or ""
    before, found, after = text.partition(";rport")
    if not found or (after and after[0] != ";") or "received" in text.lower() or "," in text or '"' in text:
        head.replace_via(via.with_params(received=host, rport=port))
    else:
        head.replace_first_value("Via", f"{before};rport={port}{after};received={host}")


def _value(line: str) -> str:
    """Return the field value of a line, unfolded (7.3.1)."""
    value = line.partition(":")[2].strip(" \t\r\n")
    return _FOLD.sub(" ", value) if "\r\n" in value else value


def _line(name: str, value: str) -> str:
    _refuse_line_ends(value)
    return f"{name}: {value}"


def _refuse_line_ends(text: str) -> None:
    """Raise ValueError for a line end, with which its author would write header fields of his own."""
    if "\r" in text or "\n" in text:
        raise ValueError("a line end inside a header field value or start line")


scanner: Final = twin("opencscf.common.sip._scan")  # the C twin, if it was built
if not TYPE_CHECKING and scanner is not None:
    scanner.use(transaction_key, note_source)  # for what is not in the usual form
    scanner.Head.via = scanner.Required("via", Via.parse)  # of the first element
    for _name in ("from_", "to", "call_id", "cseq"):
        setattr(scanner.Head, _name, scanner.Required(vars(Head)[_name].name, vars(Head)[_name].parse))
    Head, Required, Optional, Many = scanner.Head, scanner.Required, scanner.Optional, scanner.Many
