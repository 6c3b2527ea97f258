"""The trust boundary towards the UE: what crosses it in neither direction (TS 24.229 4.4, 5.2.1, 5.2.2.2, 7.2A)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opencscf.common.ims.pheaders import CHARGING, LOCATION, TRUST_DOMAIN_ONLY, hide_from_ue, remove_untrusted
from opencscf.common.sip.params import QUOTED, TOKEN_CHARS

if TYPE_CHECKING:
    from opencscf.common.sip.headers import Credentials
    from opencscf.common.sip.message import Message, Request, Response

KEYS: Final = frozenset({"ck", "ik"})  # between S-CSCF and P-CSCF only (7.2A.1)
MARKS: Final = frozenset({"integrity-protected"}) | KEYS  # nothing of this may come from a UE (7.2A.2)
UNPROTECTED: Final = 'integrity-protected="no"'

SECURITY_AGREEMENT: Final = frozenset({"security-client", "security-verify", "security-server"})  # RFC 3329
SEC_AGREE: Final = "sec-agree"

# Most messages hold nothing of all this, which one look at their names tells.
_NETWORK_ONLY: Final = frozenset(name.lower() for name in (*CHARGING, *TRUST_DOMAIN_ONLY))
_NOT_FROM_UE: Final = _NETWORK_ONLY | SECURITY_AGREEMENT | {"p-preferred-identity"}
_NOT_IN_REGISTER: Final = _NETWORK_ONLY | SECURITY_AGREEMENT | {"path", "service-route", "route"}
_NOT_IN_RESPONSE: Final = _NOT_FROM_UE | {"p-access-network-info"}
_LISTS: Final = frozenset({"p-access-network-info", "require", "proxy-require"})
_CHALLENGES: Final = frozenset({"www-authenticate", "proxy-authenticate"})
_NOT_FOR_UE: Final = frozenset(name.lower() for name in (*CHARGING, *LOCATION))
_PARTLY_HIDDEN: Final = _NOT_FOR_UE | {"privacy"}

_DIGEST: Final = re.compile(r"digest\s", re.IGNORECASE)  # a token, the other scheme, has no parameters (RFC 8898)
_ITEM: Final = re.compile(rf'(?:\A|,)((?:[^,"]++|{QUOTED})*)', re.DOTALL)


def for_ue(response: Response) -> Response:
    """Return a response without charging, private identities and keys, which no UE may see (PG-01, PT-12, PA-04)."""
    is_challenge = response.has_any(_CHALLENGES)
    if not is_challenge and not response.has_any(_PARTLY_HIDDEN):
        return response
    copy = response.copy()
    clean_for_ue(copy)
    if is_challenge:
        for name in ("WWW-Authenticate", "Proxy-Authenticate"):
            if copy.has(name):
                _edit_each(copy, name, KEYS)
    return copy


def clean_for_ue(message: Message) -> None:
    """Take out of a message what the UE it goes to must not see."""
    message.remove_all(_NOT_FOR_UE)
    if message.has("Privacy"):
        hide_from_ue(message)


def clean_from_ue(request: Request) -> None:
    """Take out of a UE's request what it cannot say, and what it says to this node only."""
    request.remove_all(_NOT_FROM_UE)
    _clean_lists(request)


def clean_register(register: Request) -> None:
    """Take out of a UE's REGISTER what it cannot say, what it says to this node only, and where it wants it to go."""
    register.remove_all(_NOT_IN_REGISTER)
    _clean_lists(register)


def from_ue(response: Response, identity: str | None = None) -> Response:
    """Return a UE's response without what it cannot say, and under the identity that is its own, if one is given."""
    if identity is None and not response.has_any(_NOT_IN_RESPONSE):
        return response
    copy = response.copy()
    copy.remove_all(_NOT_FROM_UE)
    _remove_untrusted_access(copy)
    if identity is not None:
        copy.append("P-Asserted-Identity", f"<{identity}>")
    return copy


def mark_unprotected(register: Request, credentials: Credentials | None) -> None:
    """Tell the S-CSCF that a REGISTER did not come over a security association, whatever the UE wrote (PA-01).

    `credentials` are those that count, if there are any.
    """
    lines = register.get_all("Authorization")
    if len(lines) == 1 and credentials is not None and MARKS.isdisjoint(credentials.params):
        register.set("Authorization", f"{lines[0]}, {UNPROTECTED}")
    elif lines:
        _edit_each(register, "Authorization", MARKS, added=UNPROTECTED)


def _clean_lists(request: Request) -> None:
    """Take out values of which others may stay: sec-agree (PA-03), and an access that only the network tells."""
    if request.has_any(_LISTS):
        _remove_untrusted_access(request)
        for name in ("Require", "Proxy-Require"):
            _remove_option(request, name, SEC_AGREE)


def _remove_untrusted_access(message: Message) -> None:
    if message.has("P-Access-Network-Info"):
        remove_untrusted(message)


def _remove_option(request: Request, name: str, option: str) -> None:
    options = request.values(name)
    kept = [value for value in options if value.lower() != option]
    if not kept:
        request.remove(name)
    elif len(kept) < len(options):
        request.set(name, ", ".join(kept))


def _edit_each(message: Message, name: str, removed: frozenset[str], *, added: str = "") -> None:
    """Take parameters out of each field of a name, and add one to digests; all else stays as it was written."""
    values = [without_params(value, removed) for value in message.get_all(name)]
    message.remove(name)
    for value in values:
        if value:
            message.append(name, f"{value}, {added}" if added and _DIGEST.match(value) else value)


def without_params(value: str, names: frozenset[str]) -> str:
    """Cut parameters out of a challenge or credentials; "" if its quotes do not pair, for then they might hide some."""
    items = _ITEM.findall(value)
    if ",".join(items) != value:
        return ""
    is_removed = _param_of(names).match
    kept: list[str] = []
    scheme = ""
    for item in items:
        match = is_removed(item)
        if match is not None:
            scheme = scheme or match[1] or ""  # `Digest ck="..", nonce=".."`: the scheme stays
        elif scheme:
            kept.append(scheme + item.lstrip())
            scheme = ""
        else:
            kept.append(item)
    return ",".join(kept)


@lru_cache
def _param_of(names: frozenset[str]) -> re.Pattern[str]:
    """Match a parameter of some names, and the scheme before it if it is the first one."""
    return re.compile(
        rf"(\s*[{TOKEN_CHARS}]+\s+)?\s*(?:{'|'.join(map(re.escape, sorted(names)))})\s*=", re.ASCII | re.IGNORECASE
    )
