"""Requests and responses (RFC 3261 7).

A message is its head (`head.py`), which knows lines and names, and typed access to the header fields. It is edited in
place, so edit only a `copy()` of one that others may hold.
"""

from __future__ import annotations

from collections.abc import Iterable

from opencscf.common.errors import ParseError
from opencscf.common.sip.head import ENCODING, ERRORS, Head, Many, Optional
from opencscf.common.sip.headers import NameAddr, parse_expires, parse_max_forwards, parse_media_type
from opencscf.common.sip.params import is_token
from opencscf.common.sip.reasons import REASONS
from opencscf.common.sip.uri import SipUri, TelUri, parse_uri

__all__ = ["ENCODING", "ERRORS", "REASONS", "Message", "Request", "Response"]


class Message(Head):
    """What requests and responses share. Header field names may be given in any case, in their long form.

    Typed properties raise ParseError 400 if the value is malformed; the mandatory ones also if it is absent.
    """

    __slots__ = ()

    max_forwards: Optional[int | None] = Optional("max-forwards", parse_max_forwards, None)  # 20.22
    expires: Optional[int | None] = Optional("expires", parse_expires, None)  # in seconds, 20.19
    content_type = Optional("content-type", parse_media_type, "")  # in lower case without parameters
    routes = Many("route", NameAddr.parse_all)  # 20.34
    record_routes = Many("record-route", NameAddr.parse_all)  # 20.30
    path = Many("path", NameAddr.parse_all)  # RFC 3327
    service_route = Many("service-route", NameAddr.parse_all)  # RFC 3608
    _contacts = Many("contact", NameAddr.parse_all)

    @property
    def contacts(self) -> list[NameAddr]:
        """All contacts; none for the `*` of a REGISTER."""
        return [] if self.is_contact_star else self._contacts

    @property
    def is_contact_star(self) -> bool:
        """Whether Contact is `*`, which removes all bindings (10.2.2)."""
        return self.get("contact") == "*" and len(self.get_all("contact")) == 1


class Request(Message):
    """A request; its start line is method, Request-URI and version (7.1)."""

    __slots__ = ()

    method: str = Head.first_part  # type: ignore[misc]  # the slot's descriptor under its own name
    uri = Head.second_part  # the Request-URI as it is written

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
        return cls(method, uri, headers, body, content_type)

    @property
    def request_uri(self) -> SipUri | TelUri:
        """The Request-URI; ParseError 416 if its scheme is neither sip, sips nor tel (8.2.2.1)."""
        return parse_uri(self.uri)


class Response(Message):
    """A response; its start line is version, status and reason (7.2)."""

    __slots__ = ()

    status: int = Head.first_part  # type: ignore[misc]  # the slot's descriptor under its own name
    reason = Head.second_part

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
        return cls(status, reason or REASONS.get(status, ""), headers, body, content_type)

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
        response = cls.new(status, reason, headers, body, content_type)
        added_to = "" if status == 100 or _has_tag(request) else f";tag={to_tag}"
        response.answer(request, added_to)
        return response


def _has_tag(request: Request) -> bool:
    try:
        return request.to_tag is not None
    except ParseError:
        return False  # an answer that says so needs a To all the same
