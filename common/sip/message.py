"""Requests and responses: lines of text and an index of names (RFC 3261 7).

Nothing is parsed before somebody asks, edits are splices of lines, and a header field that nobody touched leaves as it
came. A message is edited in place, so edit only a `copy()` of one that others may hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, Final, Self, TypeVar

from opencscf.common.errors import ParseError
from opencscf.common.sip.flow import Flow
from opencscf.common.sip.headers import (
    CSeq,
    NameAddr,
    Via,
    parse_call_id,
    parse_expires,
    parse_max_forwards,
    parse_media_type,
)
from opencscf.common.sip.names import canonical_name
from opencscf.common.sip.params import is_token, split_elements
from opencscf.common.sip.reasons import REASONS
from opencscf.common.sip.uri import SipUri, TelUri, parse_uri

__all__ = ["REASONS", "Message", "Request", "Response"]

ENCODING: Final = "utf-8"
ERRORS: Final = "surrogateescape"  # octets that are no UTF-8 come out as they came in

_FOLD: Final = re.compile(r"[ \t]*+\r\n[ \t]++")
_TRANSACTION: Final = "#transaction"  # in the cache; no header field can have this name
_IN_TRANSACTION: Final = frozenset({"via", "from", "call-id", "cseq"})  # what the transaction's key is made of
_COPIED_TO_RESPONSES: Final = ("via", "from", "to", "call-id", "cseq")  # 8.2.6.2

T = TypeVar("T")


class Message:
    """What requests and responses share. Header field names may be given in any case, in their long form.

    Typed properties raise ParseError 400 if the value is malformed; the mandatory ones also if it is absent.
    """

    __slots__ = ("_cache", "_framed", "_lines", "_names", "_start", "body", "flow")

    def __init__(self, start: str, lines: list[str], names: list[str], body: bytes = b"", *, framed: bool) -> None:
        self._start = start
        self._lines = lines  # "Name: value", folded lines with their line ends inside
        self._names = names  # the canonical name of each line
        self._cache: dict[str, Any] = {}  # typed values of many types, by canonical name
        self._framed = framed  # whether Content-Length is there and right
        self.body = body
        self.flow: Flow | None = None

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
        return self._values_of(canonical_name(name))

    def values(self, name: str) -> list[str]:
        """Return the comma-separated elements of all lines of this name, in order.

        Not for Date, WWW-Authenticate and others whose commas separate no elements (7.3.1).
        """
        elements: list[str] = []
        for value in self._values_of(canonical_name(name)):
            if value:
                elements += split_elements(value)
        return elements

    def has(self, name: str) -> bool:
        """Whether there is a line of this name."""
        return canonical_name(name) in self._names

    def has_any(self, canonical_names: frozenset[str]) -> bool:
        """Whether there is a line of any of these names, which are given in lower case."""
        return not canonical_names.isdisjoint(self._names)

    @property
    def via(self) -> Via:
        """The topmost Via."""
        return self._typed("via", _parse_first_via)

    @property
    def from_(self) -> NameAddr:
        """The From address (20.20)."""
        return self._typed("from", NameAddr.parse)

    @property
    def to(self) -> NameAddr:
        """The To address (20.39)."""
        return self._typed("to", NameAddr.parse)

    @property
    def from_tag(self) -> str | None:
        """The tag of From, None if it has none."""
        return self.from_.tag

    @property
    def to_tag(self) -> str | None:
        """The tag of To, None outside a dialog."""
        return self.to.tag

    @property
    def call_id(self) -> str:
        """The Call-ID (20.8)."""
        return self._typed("call-id", parse_call_id)

    @property
    def cseq(self) -> CSeq:
        """The sequence number and its method (20.16)."""
        return self._typed("cseq", CSeq.parse)

    @property
    def max_forwards(self) -> int | None:
        """How many hops the request may still take (20.22), None if it does not say."""
        return self._typed_or_none("max-forwards", parse_max_forwards)

    @property
    def expires(self) -> int | None:
        """The Expires header field in seconds (20.19); a Contact may have its own."""
        return self._typed_or_none("expires", parse_expires)

    @property
    def content_type(self) -> str:
        """The type of the body in lower case without parameters, such as "application/sdp"; "" if absent."""
        return self._typed_or_none("content-type", parse_media_type) or ""

    @property
    def contacts(self) -> list[NameAddr]:
        """All contacts; none for the `*` of a REGISTER."""
        return [] if self.is_contact_star else self._addresses("contact")

    @property
    def is_contact_star(self) -> bool:
        """Whether Contact is `*`, which removes all bindings (10.2.2)."""
        return self.get_all("contact") == ["*"]

    @property
    def routes(self) -> list[NameAddr]:
        """All Route values (20.34)."""
        return self._addresses("route")

    @property
    def record_routes(self) -> list[NameAddr]:
        """All Record-Route values (20.30)."""
        return self._addresses("record-route")

    @property
    def path(self) -> list[NameAddr]:
        """The Path of RFC 3327."""
        return self._addresses("path")

    @property
    def service_route(self) -> list[NameAddr]:
        """The Service-Route of RFC 3608."""
        return self._addresses("service-route")

    @property
    def transaction_id(self) -> str:
        """The key of the server transaction (17.2.3).

        An ACK has its INVITE's, a CANCEL its own, a response its request's. Without the magic cookie in the branch it
        follows RFC 2543, leaving out the To tag, which an ACK has and its INVITE has not, and the Request-URI, which a
        response has not.
        """
        key: str | None = self._cache.get(_TRANSACTION)
        if key is None:
            method = self.cseq.method
            key = self._cache[_TRANSACTION] = self._transaction_id("INVITE" if method == "ACK" else method)
        return key

    @property
    def invite_transaction_id(self) -> str:
        """The key of the INVITE server transaction that this CANCEL or ACK belongs to (9.2, 17.2.3)."""
        return self._transaction_id("INVITE")

    # Editing

    def copy(self) -> Self:
        """Return a message of its own with the same content and flow."""
        twin = object.__new__(type(self))
        twin._start = self._start
        twin._lines = self._lines.copy()
        twin._names = self._names.copy()
        twin._cache = self._cache.copy()
        twin._framed = self._framed
        twin.body = self.body
        twin.flow = self.flow
        return twin

    def set(self, name: str, value: str) -> None:
        """Make this the only line of its name, where the first one was, else at the end."""
        canonical = canonical_name(name)
        try:
            position = self._names.index(canonical)
        except ValueError:
            position = len(self._names)
        if self._names.count(canonical) > 1:
            self._drop(canonical, position + 1)
        self._splice(position, position + 1, canonical, _line(name, value))

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
        self._cache["via"] = via

    def assign_to(self, transaction_id: str) -> None:
        """Make this part of a server transaction that is known, whatever the Via left on it says."""
        self._cache[_TRANSACTION] = transaction_id

    def set_body(self, body: bytes, content_type: str) -> None:
        """Give the message another body; an empty one takes Content-Type away."""
        self.body = body
        if body:
            self.set("Content-Type", content_type)
        else:
            self.remove("content-type")
        self._frame()

    @property
    def size(self) -> int:
        """About how many octets the message has: exact unless its head holds more than ASCII."""
        return len(self._start) + sum(map(len, self._lines)) + 2 * len(self._lines) + 4 + len(self.body)

    # Crossing the wire

    def __bytes__(self) -> bytes:
        head = "\r\n".join([self._start, *self._lines, "", ""])
        return head.encode(ENCODING, ERRORS) + self.body

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]  # a message may change

    def __repr__(self) -> str:
        return f"<{self._start}>"

    # Within

    def _values_of(self, canonical: str) -> list[str]:
        values: list[str] = []
        position = -1
        for _ in range(self._names.count(canonical)):
            position = self._names.index(canonical, position + 1)
            values.append(_value(self._lines[position]))
        return values

    def _typed(self, canonical: str, parse: Callable[[str], T]) -> T:
        cached: T | None = self._cache.get(canonical)
        if cached is None:
            try:
                position = self._names.index(canonical)
            except ValueError:
                raise ParseError(f"no {canonical} header field") from None
            cached = self._cache[canonical] = parse(_value(self._lines[position]))
        return cached

    def _typed_or_none(self, canonical: str, parse: Callable[[str], T]) -> T | None:
        return self._typed(canonical, parse) if canonical in self._names else None

    def _addresses(self, canonical: str) -> list[NameAddr]:
        cached: tuple[NameAddr, ...] | None = self._cache.get(canonical)
        if cached is None:
            lines = [NameAddr.parse_all(value) for value in self._values_of(canonical) if value]
            cached = self._cache[canonical] = lines[0] if len(lines) == 1 else tuple(chain.from_iterable(lines))
        return list(cached)

    def _transaction_id(self, method: str) -> str:
        via = self.via
        branch = via.branch or ""
        sent_by = f"{via.host.lower()}:{via.port or 5060}"
        if branch[:7].lower() == "z9hg4bk" and len(branch) > 7:  # a bare cookie identifies nothing
            return f"{branch}|{sent_by}|{method}"
        return f"{branch}|{sent_by}|{method}|{self.from_tag or ''}|{self.call_id}|{self.cseq.number}"

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
        self._cache.pop(canonical, None)
        if canonical in _IN_TRANSACTION:
            self._cache.pop(_TRANSACTION, None)
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
        self._cache.pop("content-length", None)
        self._framed = True


class Request(Message):
    """A request; its start line is method, Request-URI and version (7.1)."""

    __slots__ = ("_uri", "method")

    def __init__(
        self, method: str, uri: str, start: str, lines: list[str], names: list[str], body: bytes = b"", *, framed: bool
    ) -> None:
        super().__init__(start, lines, names, body, framed=framed)
        self.method = method
        self._uri = uri

    @classmethod
    def new(
        cls,
        method: str,
        uri: str,
        headers: Iterable[tuple[str, str]],
        body: bytes = b"",
        content_type: str = "",
    ) -> Request:
        """Make a request of our own; Content-Length comes by itself."""
        if not is_token(method):
            raise ValueError("a method is a token")
        lines, names = _new_lines(headers, body, content_type)
        return cls(method, uri, _request_line(method, uri), lines, names, body, framed=True)

    @property
    def uri(self) -> str:
        """The Request-URI as it is written."""
        return self._uri

    @uri.setter
    def uri(self, uri: str) -> None:
        self._start = _request_line(self.method, uri)
        self._uri = uri

    @property
    def request_uri(self) -> SipUri | TelUri:
        """The Request-URI; ParseError 416 if its scheme is neither sip, sips nor tel (8.2.2.1)."""
        return parse_uri(self._uri)

    def copy(self) -> Self:
        """Return a request of its own with the same content and flow."""
        twin = super().copy()
        twin.method = self.method
        twin._uri = self._uri  # noqa: SLF001 - of our own kind
        return twin


class Response(Message):
    """A response; its start line is version, status and reason (7.2)."""

    __slots__ = ("reason", "status")

    def __init__(
        self,
        status: int,
        reason: str,
        start: str,
        lines: list[str],
        names: list[str],
        body: bytes = b"",
        *,
        framed: bool,
    ) -> None:
        super().__init__(start, lines, names, body, framed=framed)
        self.status = status
        self.reason = reason

    @classmethod
    def new(
        cls,
        status: int,
        reason: str,
        headers: Iterable[tuple[str, str]],
        body: bytes = b"",
        content_type: str = "",
    ) -> Response:
        """Make a response of our own; an empty reason becomes the usual phrase, Content-Length comes by itself."""
        lines, names = _new_lines(headers, body, content_type)
        return cls._of_lines(status, reason, lines, names, body)

    @classmethod
    def to_request(
        cls,
        request: Request,
        status: int,
        reason: str = "",
        *,
        to_tag: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> Response:
        """Answer a request (8.2.6): Via, From, To, Call-ID and CSeq are its own, as it wrote them.

        `to_tag` is added to To unless that has a tag or the status is 100.
        """
        own_lines, own_names = _new_lines(headers, body, content_type)
        lines: list[str] = []
        names: list[str] = []
        copied = (*_COPIED_TO_RESPONSES, "timestamp") if status == 100 else _COPIED_TO_RESPONSES  # 8.2.6.1
        added_tag = "" if status == 100 or _has_tag(request) else f";tag={to_tag}"
        for line, name in zip(request._lines, request._names, strict=True):  # noqa: SLF001 - taken over unparsed
            if name in copied:
                lines.append(line + added_tag if name == "to" else line)
                names.append(name)
        return cls._of_lines(status, reason, lines + own_lines, names + own_names, body)

    @classmethod
    def _of_lines(cls, status: int, reason: str, lines: list[str], names: list[str], body: bytes) -> Response:
        reason = reason or REASONS.get(status, "")
        _refuse_line_ends(reason)
        return cls(status, reason, f"SIP/2.0 {status} {reason}", lines, names, body, framed=True)

    def copy(self) -> Self:
        """Return a response of its own with the same content and flow."""
        twin = super().copy()
        twin.status = self.status
        twin.reason = self.reason
        return twin


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


def _request_line(method: str, uri: str) -> str:
    _refuse_line_ends(uri)
    return f"{method} {uri} SIP/2.0"


def _new_lines(headers: Iterable[tuple[str, str]], body: bytes, content_type: str) -> tuple[list[str], list[str]]:
    lines: list[str] = []
    names: list[str] = []
    for name, value in headers:
        canonical = canonical_name(name)
        if canonical != "content-length":
            lines.append(_line(name, value))
            names.append(canonical)
    if content_type and body:
        lines.append(_line("Content-Type", content_type))
        names.append("content-type")
    lines.append(f"Content-Length: {len(body)}")
    names.append("content-length")
    return lines, names


def _has_tag(request: Request) -> bool:
    try:
        return request.to_tag is not None
    except ParseError:
        return False  # an answer that says so needs a To all the same


def _parse_first_via(text: str) -> Via:
    return Via.parse(split_elements(text)[0])
