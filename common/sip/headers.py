"""Header field values as types, each with `parse` and `str()` (RFC 3261 20 and 25.1, RFC 3581, TS 24.229 7.2A.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import ClassVar, Final, NamedTuple, Self

from opencscf.common.errors import ParseError
from opencscf.common.native import twin
from opencscf.common.sip.params import (
    NO_PARAMS,
    PLAIN_PARAMS,
    QUOTED,
    TOKEN_CHARS,
    Params,
    is_token,
    parse_params,
    quote,
    split_elements,
    split_params,
    unquote,
)
from opencscf.common.sip.uri import (
    HOST,
    SipUri,
    TelUri,
    parse_port,
    parse_uri,
    with_brackets,
    without_brackets,
)

__all__ = [
    "NO_PARAMS",
    "CSeq",
    "Challenge",
    "Credentials",
    "NameAddr",
    "Params",
    "Via",
    "parse_call_id",
    "parse_expires",
    "parse_max_forwards",
    "parse_media_type",
    "parse_params",
    "split_elements",
]

CACHED_ADDRESSES: Final = 4096  # of what is under way: the messages of a dialog repeat From, To, Contact and Route
CACHED_LISTS: Final = 2048
CACHED_VIAS: Final = 2048  # the responses to a request carry its Via
CACHED_WORDS: Final = 512  # CSeq, Content-Type: few values for all users
MAX_CACHED_CHARS: Final = 256  # longer ones are parsed anew each time, so that a peer cannot fill the memory
MAX_CACHED_WORD_CHARS: Final = 32
MAX_CSEQ: Final = 2**31 - 1  # RFC 3261 8.1.1.5
MAX_EXPIRES_S: Final = 2**32 - 1  # 20.19
MALFORMED_EXPIRES_S: Final = 3600  # 20.10, 20.19

# A display name without quotes is made of tokens (25.1), but phones forget the quotes of what is not ASCII.
_DISPLAY_CHARS: Final = rf"{TOKEN_CHARS}\s\x80-\U0010ffff"

_CSEQ: Final = re.compile(rf"([0-9]{{1,10}})[ \t]++([{TOKEN_CHARS}]++)")
# The form that nearly all have comes first, with parameters that need no further look; then whatever the RFCs allow.
_PLAIN_VIA: Final = re.compile(
    rf"SIP/2\.0/([{TOKEN_CHARS}]++) ([A-Za-z0-9\-.]++)(?::([0-9]{{1,5}}))?({PLAIN_PARAMS})", re.ASCII
)
_VIA: Final = re.compile(
    rf"[Ss][Ii][Pp]\s*+/\s*+2\.0\s*+/\s*+([{TOKEN_CHARS}]++)\s++({HOST})\s*+(?::\s*+([0-9]{{1,5}})\s*+)?(;.*)?",
    re.ASCII | re.DOTALL,
)
_PLAIN_NAME_ADDR: Final = re.compile(rf"<([A-Za-z][A-Za-z0-9+.\-]*+:[^<>\s]++)>({PLAIN_PARAMS})", re.ASCII)
_NAME_ADDR: Final = re.compile(
    rf"(?:({QUOTED})\s*+|([{_DISPLAY_CHARS}]*+))<([A-Za-z][A-Za-z0-9+.\-]*+:[^<>\s]++)>\s*+(;.*)?",
    re.ASCII | re.DOTALL,
)
_ADDR_SPEC: Final = re.compile(r'([A-Za-z][A-Za-z0-9+.\-]*+:[^<>\s",;?]++)\s*+(;.*)?', re.ASCII | re.DOTALL)
_native: Final = twin("opencscf.common.sip._values")
_MAX_FORWARDS: Final = {str(hops): hops for hops in range(256)}
_DISPLAY_TOKENS: Final = re.compile(rf"[{TOKEN_CHARS}]++(?: [{TOKEN_CHARS}]++)*")
_QVALUE: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_PLAIN_AUTH: Final = re.compile(
    rf'([{TOKEN_CHARS}]++) ((?:[a-z\-]++=(?:"[^"\\]*+"|[^\s,"]++)(?:, *+(?=[a-z\-])|,?\Z))+)', re.ASCII
)
_PLAIN_AUTH_PARAM: Final = re.compile(r'([a-z\-]++)=(?:"([^"]*+)"|([^,"]++))')
_SCHEME: Final = re.compile(rf"\s*+([{TOKEN_CHARS}]++)\s++", re.ASCII)
_AUTH_PARAM: Final = re.compile(
    rf'\s*+([{TOKEN_CHARS}]++)\s*+=\s*+({QUOTED}|[^\s,"]++)\s*+(?:,|\Z)', re.ASCII | re.DOTALL
)


class CSeq(NamedTuple):
    """A command sequence number and its method (20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Read `number method`."""
        return _parse_cseq_cached(text) if len(text) <= MAX_CACHED_WORD_CHARS else _parse_cseq(text)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


class Via(NamedTuple):
    """One hop that a request has taken (20.42); `transport` is in upper case, `host` without brackets."""

    transport: str
    host: str
    port: int | None = None
    params: Params = NO_PARAMS

    @classmethod
    def parse(cls, text: str) -> Via:
        """Read one Via element."""
        return _parse_via_cached(text) if len(text) <= MAX_CACHED_CHARS else _parse_via(text)

    @property
    def branch(self) -> str | None:
        """What identifies the transaction (8.1.1.7)."""
        return self.params.get("branch")

    @property
    def received(self) -> str | None:
        """The address the request came from, if it is not the sent-by host (18.2.1); without brackets."""
        value = self.params.get("received")
        return value.strip("[]") if value else None

    @property
    def rport(self) -> int | None:
        """The port the request came from (RFC 3581 4); None if absent or still to be filled in."""
        value = self.params.get("rport")
        if not value:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) <= 5):
            raise ParseError("malformed rport in Via")
        return parse_port(value)

    @property
    def has_rport(self) -> bool:
        """Whether the sender asks for the response to go to the port it sent from (RFC 3581 3)."""
        return self.params.has("rport")

    @property
    def maddr(self) -> str | None:
        """The multicast or stand-in address the request was sent to, without brackets."""
        value = self.params.get("maddr")
        return value.strip("[]") if value else None

    @property
    def sent_by(self) -> str:
        """Host and port as Via writes them, IPv6 in brackets."""
        host = with_brackets(self.host)
        return host if self.port is None else f"{host}:{self.port}"

    def with_params(self, **values: str | int | None) -> Via:
        """Return a copy with parameters set, in their place if there; "" writes no value, None takes one out."""
        params = self.params
        for name, value in values.items():
            params = params.without(name) if value is None else params.replaced(name, str(value) or None)
        return Via(self.transport, self.host, self.port, params)

    def __str__(self) -> str:
        return f"SIP/2.0/{self.transport} {self.sent_by}{self.params}"


class NameAddr(NamedTuple):
    """A URI with a display name and header field parameters: From, To, Contact, Route and their kin (20.10).

    `uri` is the text between the brackets, `display` the name without quotes. `str()` always writes brackets.
    """

    uri: str
    display: str = ""
    params: Params = NO_PARAMS

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Read one name-addr or addr-spec; without brackets, all after the first semicolon is the header field's."""
        return _parse_name_addr_cached(text) if len(text) <= MAX_CACHED_CHARS else _parse_name_addr(text)

    @classmethod
    def parse_all(cls, text: str) -> tuple[NameAddr, ...]:
        """Read a comma-separated list of them."""
        return _parse_all_cached(text) if len(text) <= MAX_CACHED_CHARS else _parse_all(text)

    @property
    def tag(self) -> str | None:
        """The tag of From or To (19.3)."""
        return self.params.get("tag")

    @property
    def q(self) -> float:
        """The preference among contacts (20.10), 1.0 if absent."""
        value = self.params.get("q")
        if value is None:
            return 1.0
        if not _QVALUE.fullmatch(value):
            raise ParseError("malformed q value")
        return float(value)

    @property
    def expires(self) -> int | None:
        """The expires parameter in seconds (20.10)."""
        value = self.params.get("expires")
        return None if value is None else parse_expires(value)

    def get(self, name: str) -> str | None:
        """Return a header field parameter without its quotes; "" if it has no value, None if it is absent."""
        return self.params.get(name)

    @property
    def parsed_uri(self) -> SipUri | TelUri:
        """The URI; ParseError 416 if it is neither sip, sips nor tel."""
        return parse_uri(self.uri)

    @property
    def sip_uri(self) -> SipUri:
        """The URI; ParseError 416 if it is neither sip nor sips."""
        uri = parse_uri(self.uri)
        return uri if isinstance(uri, SipUri) else SipUri.parse(self.uri)

    def with_param(self, name: str, value: str | None = None) -> NameAddr:
        """Return a copy with a header field parameter set; the value is written as it is given."""
        return NameAddr(self.uri, self.display, self.params.replaced(name, value))

    def without_params(self, *names: str) -> NameAddr:
        """Return a copy with some header field parameters taken out."""
        return NameAddr(self.uri, self.display, self.params.without(*names))

    def __str__(self) -> str:
        if not self.display:
            return f"<{self.uri}>{self.params}"
        display = self.display if _DISPLAY_TOKENS.fullmatch(self.display) else quote(self.display)
        return f"{display} <{self.uri}>{self.params}"


def _parse_cseq(text: str) -> CSeq:
    match = _CSEQ.fullmatch(text)
    if match is None:
        raise ParseError("malformed CSeq")
    number = int(match[1])
    if number > MAX_CSEQ:
        raise ParseError("the CSeq number is 2**31 or more")
    return CSeq(number, match[2])


_parse_cseq_cached = lru_cache(CACHED_WORDS)(_parse_cseq)


def _parse_via(text: str) -> Via:
    return _usual_via(text) or _parse_any_via(text)


def _usual_via_in_python(text: str) -> Via | None:
    match = _PLAIN_VIA.fullmatch(text)
    if match is None:
        return None
    transport, host, port, params = match.groups()
    return Via(transport.upper(), host, parse_port(port), split_params(params))


_usual_via: Callable[[str], Via | None] = (
    _usual_via_in_python if _native is None else partial(_native.via, Via, NO_PARAMS)
)


def _parse_any_via(text: str) -> Via:
    match = _VIA.fullmatch(text)
    if match is None:
        raise ParseError("malformed Via")
    transport, host, port, params = match.groups()
    return Via(
        transport.upper(),
        without_brackets(host),
        parse_port(port),
        parse_params(params) if params else NO_PARAMS,
    )


_parse_via_cached = lru_cache(CACHED_VIAS)(_parse_via)


def _parse_name_addr(text: str) -> NameAddr:
    return _usual_name_addr(text) or _parse_any_name_addr(text)


def _usual_name_addr_in_python(text: str) -> NameAddr | None:
    match = _PLAIN_NAME_ADDR.fullmatch(text)
    return NameAddr(match[1], "", split_params(match[2])) if match else None


_usual_name_addr: Callable[[str], NameAddr | None] = (
    _usual_name_addr_in_python if _native is None else partial(_native.name_addr, NameAddr, NO_PARAMS)
)


def _parse_any_name_addr(text: str) -> NameAddr:
    if match := _NAME_ADDR.fullmatch(text):
        quoted, tokens, uri, params = match.groups()
        display = unquote(quoted) if quoted else tokens.rstrip()
        return NameAddr(uri, display, parse_params(params) if params else NO_PARAMS)
    if match := _ADDR_SPEC.fullmatch(text):
        uri, params = match.groups()
        return NameAddr(uri, "", parse_params(params) if params else NO_PARAMS)
    raise ParseError("malformed address")


_parse_name_addr_cached = lru_cache(CACHED_ADDRESSES)(_parse_name_addr)


def _parse_all(text: str) -> tuple[NameAddr, ...]:
    return tuple([NameAddr.parse(element) for element in split_elements(text)])


_parse_all_cached = lru_cache(CACHED_LISTS)(_parse_all)


def parse_expires(text: str) -> int:
    """Read a number of seconds; malformed ones count as an hour, too large ones as the largest (20.10, 20.19)."""
    if not (text.isdecimal() and text.isascii()):
        return MALFORMED_EXPIRES_S
    if len(text) <= 9:
        return int(text)
    return min(int(text), MAX_EXPIRES_S) if len(text) == 10 else MAX_EXPIRES_S


def parse_call_id(text: str) -> str:
    """Read a Call-ID (20.8)."""
    if not text or " " in text or "\t" in text:
        raise ParseError("malformed Call-ID")
    return text


def parse_max_forwards(text: str) -> int:
    """Read Max-Forwards (20.22)."""
    if (hops := _MAX_FORWARDS.get(text)) is not None:
        return hops
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= 255):
        raise ParseError("Max-Forwards is a number from 0 to 255")
    return int(text)


def parse_media_type(text: str) -> str:
    """Read the type of a body, in lower case without its parameters (20.15)."""
    return _media_type_cached(text) if len(text) <= MAX_CACHED_WORD_CHARS else _media_type(text)


def _media_type(text: str) -> str:
    media_type = text.partition(";")[0]
    main, slash, sub = (part.strip() for part in media_type.partition("/"))
    if not (slash and is_token(main) and is_token(sub)):
        raise ParseError("malformed Content-Type")
    return f"{main}/{sub}".lower()


_media_type_cached = lru_cache(CACHED_WORDS)(_media_type)


def _usual_auth_in_python(text: str) -> tuple[str, dict[str, str]] | None:
    match = _PLAIN_AUTH.fullmatch(text)
    if match is None:
        return None
    pairs = _PLAIN_AUTH_PARAM.findall(match[2])
    params = {name: quoted or token for name, quoted, token in pairs}
    return (match[1], params) if len(params) == len(pairs) else None  # a name that is repeated


_usual_auth: Callable[[str], tuple[str, dict[str, str]] | None] = (
    _usual_auth_in_python if _native is None else _native.auth
)


@dataclass(slots=True)  # not frozen: that would make each one dearer
class _AuthenticationParams:
    """A scheme and its parameters: names in lower case, values without quotes."""

    scheme: str
    params: dict[str, str] = field(default_factory=dict)

    UNQUOTED: ClassVar[frozenset[str]]  # every other value is a quoted-string on the wire
    SECRET: ClassVar[frozenset[str]] = frozenset({"ck", "ik", "response", "password"})  # not for logs

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `scheme name=value, ...`, quoted or not, in any order."""
        usual = _usual_auth(text)
        return cls(*usual) if usual is not None else cls._parse_any(text)

    @classmethod
    def _parse_any(cls, text: str) -> Self:
        scheme = _SCHEME.match(text)
        if scheme is None:
            raise ParseError("malformed authentication header field")
        params: dict[str, str] = {}
        position = scheme.end()
        while position < len(text):
            match = _AUTH_PARAM.match(text, position)
            if match is None or (name := match[1].lower()) in params:
                raise ParseError("malformed or repeated authentication parameter")
            params[name] = unquote(match[2])
            position = match.end()
        return cls(scheme[1], params)

    def get(self, name: str) -> str | None:
        """Return a parameter's value without quotes."""
        return self.params.get(name.lower())

    def with_params(self, **values: str | None) -> Self:
        """Return a copy with parameters set, or taken out by None; an underscore in a name stands for a hyphen."""
        params = dict(self.params)
        for key, value in values.items():
            name = key.replace("_", "-").lower()
            if value is None:
                params.pop(name, None)
            else:
                params[name] = value
        return type(self)(self.scheme, params)

    def __str__(self) -> str:
        # What is no token is quoted in any case: it might end the parameter and begin one of its own.
        unquoted = self.UNQUOTED
        pairs = [
            f"{name}={value if name in unquoted and is_token(value) else quote(value)}"
            for name, value in self.params.items()
        ]
        return f"{self.scheme} {', '.join(pairs)}"

    def __repr__(self) -> str:
        shown = {name: "..." if name in self.SECRET else value for name, value in self.params.items()}
        return f"{type(self).__name__}(scheme={self.scheme!r}, params={shown!r})"


class Challenge(_AuthenticationParams):
    """WWW-Authenticate and Proxy-Authenticate (20.44); ck and ik are between S-CSCF and P-CSCF (TS 24.229 7.2A.1)."""

    __slots__ = ()
    UNQUOTED = frozenset({"algorithm", "charset", "stale", "userhash"})  # RFC 7616 3.3


class Credentials(_AuthenticationParams):
    """Authorization and Proxy-Authorization (20.7); integrity-protected is the P-CSCF's mark (TS 24.229 7.2A.2)."""

    __slots__ = ()
    UNQUOTED = frozenset({"algorithm", "nc", "qop", "userhash", "username*"})  # RFC 7616 3.4
