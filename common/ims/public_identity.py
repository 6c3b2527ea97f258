"""Public identities as URIs: one canonical text for each, and the forms in which a number may be provisioned.

Canonical is what HSS and CSCFs compare (TS 23.003 13.4, RFC 3261 10.3 step 5, RFC 3966 4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opencscf.common.ims.identity import Impu
from opencscf.common.sip.uri import SipUri, TelUri, parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

# What an identity is mostly provisioned as, and is its own canonical text: nothing escaped, no port, no parameters.
_CANONICAL = re.compile(r"sip:[A-Za-z0-9_.+\-]++@[a-z0-9.\-]++|tel:\+[0-9]++", re.ASCII)
_GLOBAL_NUMBER = re.compile(r"\+[0-9]+", re.ASCII)
_DIGITS = re.compile(r"[0-9]+", re.ASCII)


def impu_of(uri: SipUri | TelUri) -> Impu:
    """The one text by which an identity is known: no parameters, no port, no visual separators.

    A SIPS URI names the same user as the SIP URI (RFC 3261 19.1), and that is how the HSS knows them.
    """
    if isinstance(uri, TelUri):
        return Impu(uri.canonical)
    return Impu(f"sip:{uri.userhost}")


def impu_of_text(text: str) -> Impu:
    """The same for a URI that is still text; ParseError if it is none."""
    return Impu(text) if _CANONICAL.fullmatch(text) else impu_of(parse_uri(text))


def forms_of(request_uri: str, domain: str) -> Iterator[Impu]:
    """The identities that a Request-URI may mean, the most literal first (TS 24.229 5.3.2.1).

    People provision numbers with or without `+`, as SIP or as tel URI, and dial them in any of these ways. A number is
    therefore tried in all its forms; what is no number has only one.
    """
    known: list[Impu] = []
    if _CANONICAL.fullmatch(request_uri):  # most are known by what they say, and nobody asks for further forms
        known.append(Impu(request_uri))
        yield known[0]
    for form in _forms(parse_uri(request_uri), domain):
        if form not in known:
            known.append(form)
            yield form


def _forms(uri: SipUri | TelUri, domain: str) -> Iterator[Impu]:
    number = _number_in(uri, domain)
    if isinstance(number, TelUri) and (number.is_global or number.params.has("phone-context")):
        if isinstance(uri, SipUri) and not uri.params.has("user"):
            yield impu_of(uri)  # nothing but the + says that it is a number
        yield impu_of(number)
    yield impu_of(uri)
    if number is None:
        return
    digits = number.digits.removeprefix("+")
    if not _DIGITS.fullmatch(digits):
        return
    forms = [Impu(f"sip:{digits}@{domain}"), Impu(f"tel:{digits}")]
    in_full = Impu(f"tel:+{digits}")
    yield from [in_full, *forms] if number.is_global else [*forms, in_full]


def _number_in(uri: SipUri | TelUri, domain: str) -> TelUri | None:
    """The telephone number that the URI is or holds: by `user=phone`, or by a leading + in the home domain."""
    if isinstance(uri, TelUri):
        return uri
    if uri.tel is not None:
        return uri.tel
    if uri.user is not None and uri.host.lower() == domain.lower() and _GLOBAL_NUMBER.fullmatch(uri.user):
        return TelUri(uri.user)
    return None
