"""Bodies that a server does not understand (RFC 3261 8.2.3)."""

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.sip.content import unsupported_content
from opencscf.common.sip.message import Request

SDP = "application/sdp"


def with_body(content_type: str, *headers: tuple[str, str], body: bytes = b"v=0\r\n") -> Request:
    fields = [("To", "<sip:node.test>"), ("Call-ID", "1"), ("CSeq", "1 OPTIONS"), *headers]
    return Request.new("OPTIONS", "sip:node.test", fields, body, content_type)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        pytest.param(with_body("", body=b""), (), id="8.2.3 there is none"),
        pytest.param(with_body("Application/SDP;v=1"), (), id="8.2.3 it is understood"),
        pytest.param(with_body("text/plain"), (("Accept", SDP),), id="8.2.3 unknown type"),
        pytest.param(with_body(""), (("Accept", SDP),), id="8.2.3 no type at all"),
        pytest.param(
            with_body(SDP, ("Content-Encoding", "gzip")), (("Accept-Encoding", "identity"),), id="8.2.3 encoding"
        ),
        pytest.param(with_body(SDP, ("e", "Identity")), (), id="8.2.3 no encoding in effect"),
        pytest.param(
            with_body("text/plain", ("Content-Encoding", "identity, gzip")),
            (("Accept", SDP), ("Accept-Encoding", "identity")),
            id="8.2.3 both",
        ),
        pytest.param(
            with_body("text/plain", ("Content-Disposition", "render; Handling=Optional")), (), id="20.11 optional"
        ),
        pytest.param(
            with_body("text/plain", ("Content-Disposition", "render;handling=required")),
            (("Accept", SDP),),
            id="20.11 required",
        ),
        pytest.param(
            with_body("text/plain", ("Content-Disposition", "handling")), (("Accept", SDP),), id="20.11 no parameter"
        ),
    ],
)
def test_what_415_tells(request_: Request, told: tuple[tuple[str, str], ...]) -> None:
    assert unsupported_content(request_, (SDP,)) == told


def test_no_body_at_all_is_accepted() -> None:
    """20.1: Accept is empty then."""
    assert unsupported_content(with_body(SDP)) == (("Accept", ""),)


def test_a_disposition_that_cannot_be_read() -> None:
    with pytest.raises(ParseError):
        unsupported_content(with_body(SDP, ("Content-Disposition", 'render;handling="opt')))
