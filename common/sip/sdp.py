"""Session descriptions as far as QoS and policy need them (RFC 8866, RFC 3605, RFC 5761).

Every line is kept, in order, known or not; `str()` writes what was read. Lines that phones leave out or add against the
grammar are no fault unless media could not be told from them.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from opencscf.common.errors import ParseError
from opencscf.common.sip.message import ENCODING, ERRORS

MAX_SDP_BYTES: Final = 65_535
MAX_LINES: Final = 2_000
MAX_MEDIA: Final = 64

_LINE: Final = re.compile(r"[a-z]=[^\r\n\0]*+")
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


_DIRECTIONS: Final = frozenset(Direction)


@dataclass(frozen=True, slots=True)
class MediaDescription:
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


@dataclass(frozen=True, slots=True)
class SessionDescription:
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
        session, *media = _sections(body.decode(ENCODING, ERRORS) if isinstance(body, bytes) else body)
        connection = _connection(session)
        attributes = _attributes(session)
        direction = _direction(attributes, Direction.SENDRECV)
        return cls(
            lines=tuple(session),
            connection=connection,
            bandwidths=_bandwidths(session),
            attributes=attributes,
            media=[_media(lines, connection, direction) for lines in media],
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
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if lines[0] != "v=0":
        raise ParseError("a session description starts with v=0")
    if len(lines) > MAX_LINES:
        raise ParseError("too many lines in the session description", status=513)
    sections: list[list[str]] = [[]]
    for line in lines:
        if not _LINE.fullmatch(line):
            raise ParseError("malformed line in the session description")
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    if len(sections) > MAX_MEDIA + 1:
        raise ParseError("too many media", status=488)
    return sections


def _media(lines: list[str], session_connection: str | None, session_direction: Direction) -> MediaDescription:
    match = _MEDIA.fullmatch(lines[0])
    if match is None:
        raise ParseError("malformed m= line")
    media, port, count, proto, formats = match.groups()
    attributes = _attributes(lines)
    return MediaDescription(
        media=media,
        port=_port(port),
        port_count=int(count) if count else 1,
        proto=proto,
        formats=tuple(formats.split()),
        connection=_connection(lines) or session_connection,
        bandwidths=_bandwidths(lines),
        direction=_direction(attributes, session_direction),
        attributes=attributes,
        lines=tuple(lines),
    )


def _port(digits: str) -> int:
    port = int(digits)
    if port > 65_535:
        raise ParseError("a media port is above 65535")
    return port


def _connection(lines: list[str]) -> str | None:
    """Return the address of the first c= line; a medium with several is sent to as many multicast groups."""
    for line in lines:
        if line.startswith("c="):
            match = _CONNECTION.fullmatch(line)
            if match is None:
                raise ParseError("malformed c= line")
            return match[1]
    return None


def _bandwidths(lines: list[str]) -> dict[str, int]:
    bandwidths: dict[str, int] = {}
    for line in lines:
        if line.startswith("b="):
            match = _BANDWIDTH.fullmatch(line)
            if match is None:
                raise ParseError("malformed b= line")
            bandwidths[match[1]] = int(match[2])
    return bandwidths


def _attributes(lines: list[str]) -> tuple[Attribute, ...]:
    parts = [line[2:].partition(":") for line in lines if line.startswith("a=")]
    return tuple([(name, value if colon else None) for name, colon, value in parts])


def _attribute(attributes: tuple[Attribute, ...], name: str) -> str | None:
    return next((value or "" for key, value in attributes if key == name), None)


def _direction(attributes: tuple[Attribute, ...], inherited: Direction) -> Direction:
    return next((Direction(name) for name, value in attributes if name in _DIRECTIONS and value is None), inherited)
