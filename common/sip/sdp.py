"""Session descriptions as far as QoS and policy need them (RFC 8866, RFC 3605, RFC 5761).

Every line is kept, in order, known or not; `str()` writes what was read. Lines that phones leave out or add against the
grammar are no fault unless media could not be told from them.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple, TypeAlias

from opencscf.common.errors import ParseError
from opencscf.common.sip.message import ENCODING, ERRORS

MAX_SDP_BYTES: Final = 65_535
MAX_LINES: Final = 2_000
MAX_MEDIA: Final = 64

_LINES: Final = re.compile(r"(?:[a-z]=[^\r\n\0]*+\n)*[a-z]=[^\r\n\0]*+")
_MEDIA: Final = re.compile(r"m=(\S++) ([0-9]{1,5})(?:/([0-9]{1,5}))? (\S++)((?: \S++)*) *+", re.ASCII)
_CONNECTION: Final = re.compile(r"c=IN IP[46] ([^\s/]++)(?:/[0-9]++)* *+", re.ASCII)
_BANDWIDTH: Final = re.compile(r"b=([A-Za-z0-9\-]++):([0-9]{1,12}) *+")
_RTCP: Final = re.compile(r"([0-9]{1,5})(?: IN IP[46] (\S++))? *+")

Attribute: TypeAlias = "tuple[str, str | None]"


class Direction(enum.StrEnum):
    """Which way media flows, seen from who wrote the description (RFC 8866 6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


_DIRECTIONS: Final = {direction.value: direction for direction in Direction}


class _Section(NamedTuple):
    """What a session and a medium may both say."""

    connection: str | None
    bandwidths: dict[str, int]
    direction: Direction | None
    attributes: tuple[Attribute, ...]


class MediaDescription(NamedTuple):
    """One `m=` line and its own; `connection` and `direction` are the session's where it has none."""

    media: str
    port: int
    port_count: int
    proto: str
    formats: tuple[str, ...]
    connection: str | None  # an IP address without TTL, or a host name
    bandwidths: dict[str, int]  # by type: AS in kbit/s; TIAS, RS and RR in bit/s
    direction: Direction
    attributes: tuple[Attribute, ...]
    lines: tuple[str, ...]

    @property
    def is_rejected(self) -> bool:
        """Whether port 0 says that there is no such medium (RFC 3264 6)."""
        return self.port == 0

    @property
    def has_rtcp_mux(self) -> bool:
        """Whether RTCP may share the port of RTP; it does if both sides say so (RFC 5761 5.1.1)."""
        return ("rtcp-mux", None) in self.attributes

    @property
    def rtcp_port(self) -> int | None:
        """The port of RTCP where it is not multiplexed: that of a=rtcp, else the one after RTP's (RFC 3605)."""
        text = self.attribute("rtcp")
        if text is None:
            return self.port + 1 if 0 < self.port < 65_535 else None
        match = _RTCP.fullmatch(text)
        if match is None:
            raise ParseError("malformed a=rtcp")
        return _port(match[1])

    def attribute(self, name: str) -> str | None:
        """Return the first value of an attribute, "" if it has none, None if it is absent."""
        return _attribute(self.attributes, name)


class SessionDescription(NamedTuple):
    """The lines before the first `m=`, and the media."""

    lines: tuple[str, ...]
    connection: str | None
    bandwidths: dict[str, int]
    attributes: tuple[Attribute, ...]
    media: list[MediaDescription]

    @classmethod
    def parse(cls, body: bytes | str) -> SessionDescription:
        """Read a description; its lines may end with a bare LF (RFC 8866 5)."""
        if len(body) > MAX_SDP_BYTES:
            raise ParseError("the session description is too large", status=513)
        lines, *media = _sections(body.decode(ENCODING, ERRORS) if isinstance(body, bytes) else body)
        session = _section(lines)
        return cls(
            lines=tuple(lines),
            connection=session.connection,
            bandwidths=session.bandwidths,
            attributes=session.attributes,
            media=[_media(medium, session) for medium in media],
        )

    def attribute(self, name: str) -> str | None:
        """Return the first value of an attribute of the session, "" if it has none, None if it is absent."""
        return _attribute(self.attributes, name)

    def __str__(self) -> str:
        lines = [*self.lines, *(line for media in self.media for line in media.lines)]
        return "".join([f"{line}\r\n" for line in lines])

    def __bytes__(self) -> bytes:
        return str(self).encode(ENCODING, ERRORS)


def _sections(text: str) -> list[list[str]]:
    """Cut into the session's lines and those of each medium."""
    text = text.replace("\r\n", "\n").rstrip("\n")
    if text != "v=0" and not text.startswith("v=0\n"):
        raise ParseError("a session description starts with v=0")
    if text.count("\n") >= MAX_LINES:
        raise ParseError("too many lines in the session description", status=513)
    if not _LINES.fullmatch(text):
        raise ParseError("malformed line in the session description")
    session, *media = text.split("\nm=")
    if len(media) > MAX_MEDIA:
        raise ParseError("too many media", status=488)
    return [session.split("\n"), *[f"m={lines}".split("\n") for lines in media]]


def _media(lines: list[str], session: _Section) -> MediaDescription:
    match = _MEDIA.fullmatch(lines[0])
    if match is None:
        raise ParseError("malformed m= line")
    media, port, count, proto, formats = match.groups()
    own = _section(lines)
    return MediaDescription(
        media=media,
        port=_port(port),
        port_count=int(count) if count else 1,
        proto=proto,
        formats=tuple(formats.split()),
        connection=own.connection or session.connection,
        bandwidths=own.bandwidths,
        direction=own.direction or session.direction or Direction.SENDRECV,
        attributes=own.attributes,
        lines=tuple(lines),
    )


def _section(lines: list[str]) -> _Section:
    """Read the lines of the session or of a medium; with several c= it is sent to as many multicast groups."""
    connection: str | None = None
    direction: Direction | None = None
    bandwidths: dict[str, int] = {}
    attributes: list[Attribute] = []
    for line in lines:
        kind = line[0]
        if kind == "a":
            name, colon, value = line[2:].partition(":")
            attributes.append((name, value if colon else None))
            if direction is None and not colon:
                direction = _DIRECTIONS.get(name)
        elif kind == "c" and connection is None:
            connection = _matched(_CONNECTION, line)[1]
        elif kind == "b":
            match = _matched(_BANDWIDTH, line)
            bandwidths[match[1]] = int(match[2])
    return _Section(connection, bandwidths, direction, tuple(attributes))


def _matched(pattern: re.Pattern[str], line: str) -> re.Match[str]:
    match = pattern.fullmatch(line)
    if match is None:
        raise ParseError(f"malformed {line[0]}= line")
    return match


def _port(digits: str) -> int:
    port = int(digits)
    if port > 65_535:
        raise ParseError("a media port is above 65535")
    return port


def _attribute(attributes: tuple[Attribute, ...], name: str) -> str | None:
    for key, value in attributes:
        if key == name:
            return value or ""
    return None
