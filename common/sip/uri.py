"""SIP, SIPS and tel URIs and their rules of equality (RFC 3261 19.1, RFC 3966, RFC 5954).

Not covered: IPv6 zones, which mean nothing to another host and have no place in the grammar (RFC 5954 4.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple, TypeAlias

from opencscf.common.errors import ParseError
from opencscf.common.native import twin
from opencscf.common.sip.params import NO_PARAMS, Params, split_params

CACHED_URIS: Final = 4096
MAX_CACHED_CHARS: Final = 256  # longer ones are parsed anew each time, so that a peer cannot fill the memory

_UNRESERVED: Final = r"A-Za-z0-9\-_.!~*'()"
_ESCAPED: Final = "%[0-9A-Fa-f]{2}"
# A raw "#" is not in the grammar, but phones send it in the service codes that people dial.
_USER: Final = rf"(?:[{_UNRESERVED}&=+$,;?/#]++|{_ESCAPED})+"
_PASSWORD: Final = rf"(?:[{_UNRESERVED}&=+$,]++|{_ESCAPED})*"
_PARAM_CHARS: Final = rf"(?:[{_UNRESERVED}\[\]/:&+$]++|{_ESCAPED})"
_HEADER_CHARS: Final = rf"(?:[{_UNRESERVED}\[\]/?:+$]++|{_ESCAPED})"
HOST: Final = r"\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9\-_.]++"  # the underscore is no host name's, but it is seen

# The form that nearly all have: nothing escaped, no password, no headers, no IPv6.
_PLAIN_SIP_URI: Final = re.compile(
    rf"(sips?):(?:([{_UNRESERVED}&=+$,;?/#]++)@)?([A-Za-z0-9\-_.]++)(?::([0-9]{{1,5}}))?"
    rf"((?:;[{_UNRESERVED}\[\]/:&+$]++(?:=[{_UNRESERVED}\[\]/:&+$]*+)?)*)",
    re.ASCII,
)
_SIP_URI: Final = re.compile(
    rf"([Ss][Ii][Pp][Ss]?):(?:({_USER})(?::({_PASSWORD}))?@)?({HOST})(?::([0-9]{{1,5}}))?"
    rf"((?:;{_PARAM_CHARS}+(?:={_PARAM_CHARS}*)?)*)"
    rf"(?:\?({_HEADER_CHARS}+=(?:{_HEADER_CHARS}*)(?:&{_HEADER_CHARS}+=(?:{_HEADER_CHARS}*))*))?",
    re.ASCII,
)
_ISUB_CHARS: Final = rf"(?:[{_UNRESERVED}/?:@&=+$,]++|{_ESCAPED})"  # uric, but for the semicolon that ends it
_TEL_URI: Final = re.compile(
    r"[Tt][Ee][Ll]:(\+[\-.()]*+[0-9][0-9\-.()]*+|[\-.()]*+[0-9A-Fa-f*#][0-9A-Fa-f*#\-.()]*+)"
    rf"((?:;(?:[Ii][Ss][Uu][Bb]={_ISUB_CHARS}+|(?![Ii][Ss][Uu][Bb]=)[A-Za-z0-9\-]++(?:={_PARAM_CHARS}+)?))*)",
    re.ASCII,
)
_NOT_IN_USER: Final = re.compile(rf"[^{_UNRESERVED}&=+$,;?/%]")
_TEL_PARAMS_FIRST: Final = {"isub": 0, "ext": 1, "phone-context": 2}  # RFC 3966 3; the others by name
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):")
_ESCAPE: Final = re.compile(_ESCAPED)
_EXTRA_COLON: Final = re.compile(r":::(?=[0-9]++\.)")  # which the grammar of RFC 3261 allows (RFC 5118 4.10)
_VISUAL_SEPARATORS: Final = str.maketrans("", "", "-.()")  # RFC 3966 3
_UNRESERVED_CHAR: Final = re.compile(f"[{_UNRESERVED}]")
_native: Final = twin("opencscf.common.sip._values")
_NEVER_MATCHES_ABSENT: Final = frozenset({"user", "ttl", "method", "maddr"})  # RFC 3261 19.1.4


class SipUri(NamedTuple):
    """A SIP or SIPS URI; `host` is without brackets, `user` and `password` are escaped as they were written.

    `==` compares what is written; `equivalent` compares what is meant.
    """

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: int | None = None
    params: Params = NO_PARAMS
    headers: Params = NO_PARAMS

    @classmethod
    def parse(cls, text: str) -> SipUri:
        """Read a SIP or SIPS URI; ParseError 416 if it is of another scheme."""
        uri = parse_uri(text)
        if not isinstance(uri, SipUri):
            raise ParseError("the URI is neither sip nor sips", status=416)
        return uri

    @property
    def transport(self) -> str | None:
        """The transport parameter in lower case, None if absent."""
        value = self.params.get("transport")
        return value.lower() if value is not None else None

    @property
    def lr(self) -> bool:
        """Whether the URI names a loose router (19.1.1)."""
        return self.params.has("lr")

    @property
    def maddr(self) -> str | None:
        """The address to send to in place of the host, without brackets; None if absent."""
        value = self.params.get("maddr")
        return without_brackets(value) if value else None

    @property
    def hostport(self) -> str:
        """Host and port as they are written in the URI, IPv6 in brackets."""
        host = with_brackets(self.host)
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def aor(self) -> str:
        """The canonical address-of-record (10.3 step 5): no parameters, port or password, nothing escaped in vain."""
        return f"{self.scheme}:{self.userhost}"

    @property
    def userhost(self) -> str:
        """The address-of-record without its scheme."""
        host = with_brackets(comparable_host(self.host))
        return host if self.user is None else f"{_unescaped(self.user)}@{host}"

    @property
    def tel(self) -> TelUri | None:
        """The telephone number in the user part if `user=phone` says that it is one (19.1.6), else None."""
        if self.user is None or (self.params.get("user") or "").lower() != "phone":
            return None
        match = _TEL_URI.fullmatch(f"tel:{_unescaped(self.user).replace('%23', '#')}")
        return _tel_uri(match) if match else None

    def with_param(self, name: str, value: str | None = None) -> SipUri:
        """Return a copy with a parameter set."""
        return self._replace(params=self.params.replaced(name, value))

    def without_params(self, *names: str) -> SipUri:
        """Return a copy with some parameters taken out."""
        return self._replace(params=self.params.without(*names))

    def equivalent(self, other: SipUri | TelUri) -> bool:
        """Whether both URIs mean the same resource (19.1.4). Not transitive: see the clause."""
        return (
            isinstance(other, SipUri)
            and self.scheme == other.scheme
            and _unescaped(self.user or "") == _unescaped(other.user or "")
            and _unescaped(self.password or "") == _unescaped(other.password or "")
            and comparable_host(self.host) == comparable_host(other.host)
            and self.port == other.port
            and _params_match(_comparable(self.params), _comparable(other.params))
            and _comparable_headers(self.headers) == _comparable_headers(other.headers)
        )

    def __str__(self) -> str:
        scheme, user, password, _, _, params, headers = self
        if user is None:
            text = f"{scheme}:{self.hostport}{params}"
        elif password is None:
            text = f"{scheme}:{user}@{self.hostport}{params}"
        else:
            text = f"{scheme}:{user}:{password}@{self.hostport}{params}"
        return f"{text}?{str(headers)[1:].replace(';', '&')}" if headers else text


class TelUri(NamedTuple):
    """A tel URI; `number` is written as it came. `==` compares what is written, `equivalent` what is meant."""

    number: str
    params: Params = NO_PARAMS

    @classmethod
    def parse(cls, text: str) -> TelUri:
        """Read a tel URI; ParseError 416 if it is of another scheme."""
        uri = parse_uri(text)
        if not isinstance(uri, TelUri):
            raise ParseError("the URI is not a tel URI", status=416)
        return uri

    @property
    def is_global(self) -> bool:
        """Whether the number is valid everywhere; a local one needs its phone-context (RFC 3966 5.1)."""
        return self.number.startswith("+")

    @property
    def digits(self) -> str:
        """The number without visual separators, a leading + kept."""
        return self.number.translate(_VISUAL_SEPARATORS).lower()

    @property
    def canonical(self) -> str:
        """The URI that identifies the number: no visual separators, no parameter but a local number's phone-context."""
        context = self.params.get("phone-context")
        if self.is_global or context is None:
            return f"tel:{self.digits}"
        return f"tel:{self.digits};phone-context={_comparable_context(context)}"

    def equivalent(self, other: SipUri | TelUri) -> bool:
        """Whether both URIs mean the same number (RFC 3966 4)."""
        return (
            isinstance(other, TelUri)
            and self.digits == other.digits
            and _comparable_tel_params(self.params) == _comparable_tel_params(other.params)
        )

    def to_sip(self, host: str) -> SipUri:
        """Return the SIP URI with `user=phone` for this number in a domain, the same for equal numbers (19.1.6)."""
        comparable = _comparable_tel_params(self.params)
        ordered = sorted(comparable, key=lambda name: (_TEL_PARAMS_FIRST.get(name, len(_TEL_PARAMS_FIRST)), name))
        params = Params([(name, comparable[name] or None) for name in ordered])
        user = _NOT_IN_USER.sub(lambda char: f"%{ord(char[0]):02X}", f"{self.digits}{params}")
        return SipUri("sip", user, None, host, params=Params([("user", "phone")]))

    def __str__(self) -> str:
        return f"tel:{self.number}{self.params}"


Uri: TypeAlias = SipUri | TelUri


def parse_uri(text: str) -> SipUri | TelUri:
    """Read a URI; ParseError 416 for a scheme that is not sip, sips or tel, 400 for what is malformed."""
    return _parse_cached(text) if len(text) <= MAX_CACHED_CHARS else _parse(text)


def with_brackets(host: str) -> str:
    """Return a host as URIs and Via write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


@lru_cache(1024)
def without_brackets(host: str) -> str:
    """Return a host without the brackets of an IPv6 reference; ParseError if they hold no IPv6 address."""
    if host[:1] != "[":
        return host
    address = _EXTRA_COLON.sub("::", host[1:-1])
    try:
        IPv6Address(address)
    except AddressValueError:
        raise ParseError("malformed IPv6 reference") from None
    return address


def comparable_host(host: str) -> str:
    """Return a host in the one form that equal hosts share: lower case, IPv6 compressed (RFC 5954 4.2)."""
    if ":" not in host:
        return host.lower()
    try:
        return IPv6Address(host).compressed
    except AddressValueError:
        return host.lower()


def parse_port(digits: str | None) -> int | None:
    """Read a port number, None if there is none."""
    if digits is None:
        return None
    port = int(digits)
    if not 0 < port < 65_536:
        raise ParseError("a port is a number from 1 to 65535")
    return port


def _parse(text: str) -> SipUri | TelUri:
    return _usual_sip_uri(text) or _parse_any(text)


def _usual_sip_uri_in_python(text: str) -> SipUri | None:
    match = _PLAIN_SIP_URI.fullmatch(text)
    if match is None:
        return None
    scheme, user, host, port, params = match.groups()
    return SipUri(scheme, user, None, host, parse_port(port), split_params(params))


_usual_sip_uri: Callable[[str], SipUri | None] = (
    _usual_sip_uri_in_python if _native is None else partial(_native.sip_uri, SipUri, NO_PARAMS)
)


def _parse_any(text: str) -> SipUri | TelUri:
    if match := _SIP_URI.fullmatch(text):
        scheme, user, password, host, port, params, headers = match.groups()
        return SipUri(
            scheme=scheme.lower(),
            user=user,
            password=password,
            host=without_brackets(host),
            port=parse_port(port),
            params=split_params(params),
            headers=split_params(f"&{headers}", "&") if headers else NO_PARAMS,
        )
    if match := _TEL_URI.fullmatch(text):
        return _tel_uri(match)
    scheme_match = _SCHEME.match(text)
    if scheme_match is None or scheme_match[1].lower() in {"sip", "sips", "tel"}:
        raise ParseError("malformed URI")
    raise ParseError("a URI scheme other than sip, sips and tel", status=416)


_parse_cached = lru_cache(CACHED_URIS)(_parse)


def _tel_uri(match: re.Match[str]) -> TelUri:
    number, params = match.groups()
    return TelUri(number, split_params(params))


def _unescaped(text: str) -> str:
    """Replace the escapes of characters that never need one; the rest are written in upper case (19.1.4)."""
    return text if "%" not in text else _ESCAPE.sub(_unescape, text)


def _unescape(match: re.Match[str]) -> str:
    char = chr(int(match[0][1:], 16))
    return char if _UNRESERVED_CHAR.match(char) else match[0].upper()


def _comparable(params: Params) -> dict[str, str]:
    return {_unescaped(name).lower(): _unescaped(value or "").lower() for name, value in reversed(params)}


def _comparable_headers(headers: Params) -> list[tuple[str, str]]:
    return sorted((_unescaped(name).lower(), _unescaped(value or "")) for name, value in headers)


def _params_match(ours: dict[str, str], theirs: dict[str, str]) -> bool:
    return all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys()) and not (
        _NEVER_MATCHES_ABSENT & (ours.keys() ^ theirs.keys())
    )


def _comparable_context(context: str) -> str:
    """A number without visual separators, or a domain, whose last dot changes nothing (RFC 3966 4, 5.1.5)."""
    return context.translate(_VISUAL_SEPARATORS) if context.startswith("+") else context.lower().removesuffix(".")


def _comparable_tel_params(params: Params) -> dict[str, str]:
    comparable = _comparable(params)
    if "phone-context" in comparable:
        comparable["phone-context"] = _comparable_context(comparable["phone-context"])
    if "ext" in comparable:
        comparable["ext"] = comparable["ext"].translate(_VISUAL_SEPARATORS)
    return comparable
