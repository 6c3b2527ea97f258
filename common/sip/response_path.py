"""Where a request came from, and so where its responses go (RFC 3261 18.2.1, 18.2.2, RFC 3581)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencscf.common.errors import ParseError
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.head import DEFAULT_PORT

if TYPE_CHECKING:
    from opencscf.common.sip.message import Request

_UDP = Transport.UDP


def note_source(request: Request) -> Flow:
    """Write where a request came from into its topmost Via, and return where its responses go (18.2.2)."""
    flow = request.flow
    assert flow is not None  # noqa: S101  the transport sets it on every message
    host, port = flow.remote
    return _target(flow, request.note_source(host, port))


def response_target(request: Request, flow: Flow) -> Flow:
    """Where the responses to a request go (18.2.2, RFC 3581 4)."""
    try:
        via = request.via
    except ParseError:
        return flow  # where it came from is all that is known
    return flow if via.has_rport else _target(flow, via.port or DEFAULT_PORT)


def _target(flow: Flow, port: int) -> Flow:
    if port == flow.remote[1] or (flow.transport is not _UDP and flow.transport is not Transport.TCP):
        return flow  # the connections of others are never made anew
    return Flow(flow.transport, flow.local, (flow.remote[0], port), flow.connection)
