"""Where a request came from, and so where its responses go (RFC 3261 18.2.1, 18.2.2, RFC 3581)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencscf.common.errors import ParseError
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.proxy import DEFAULT_PORT

if TYPE_CHECKING:
    from opencscf.common.sip.headers import Via
    from opencscf.common.sip.message import Request

_UDP = Transport.UDP


def note_source(request: Request) -> Flow:
    """Write where a request came from into its topmost Via: received and rport (18.2.1, RFC 3581 4).

    Return where its responses go (18.2.2).
    """
    flow = request.flow
    assert flow is not None  # noqa: S101  the transport sets it on every message
    via, key = request.via, request.transaction_id
    host, port = flow.remote
    if via.has_rport:
        _fill_rport(request, via, host, port)
    elif via.host != host:
        request.replace_via(via.with_params(received=host))
    request.assign_to(key)  # which this does not change
    return _response_target(via, flow)


def _fill_rport(request: Request, via: Via, host: str, port: int) -> None:
    """Write received and rport into a Via that asks for them: into its text, as long as there is nothing odd in it."""
    text = request.get("Via") or ""
    before, found, after = text.partition(";rport")
    if not found or (after and after[0] != ";") or "received" in text.lower() or "," in text or '"' in text:
        request.replace_via(via.with_params(received=host, rport=port))
    else:
        request.replace_first_value("Via", f"{before};rport={port}{after};received={host}")


def response_target(request: Request, flow: Flow) -> Flow:
    """Where the responses to a request go (18.2.2, RFC 3581 4)."""
    try:
        return _response_target(request.via, flow)
    except ParseError:
        return flow  # where it came from is all that is known


def _response_target(via: Via, flow: Flow) -> Flow:
    if (flow.transport is not _UDP and flow.transport is not Transport.TCP) or via.has_rport:
        return flow  # the connections of others are never made anew
    return flow._replace(remote=(flow.remote[0], via.port or DEFAULT_PORT))
