"""The trust boundary towards the UE: what crosses it in neither direction (TS 24.229 4.4, 5.2.1, 5.2.2.2, 7.2A)."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from opencscf.common.ims.pheaders import hide_from_ue
from opencscf.common.sip.params import QUOTED, TOKEN_CHARS

if TYPE_CHECKING:
    from opencscf.common.sip.message import Message, Request, Response

KEYS: Final = frozenset({"ck", "ik"})  # between S-CSCF and P-CSCF only (7.2A.1)
MARKS: Final = frozenset({"integrity-protected"}) | KEYS  # nothing of this may come from a UE (7.2A.2)

SECURITY_AGREEMENT: Final = frozenset({"security-client", "security-verify", "security-server"})  # RFC 3329
SEC_AGREE: Final = "sec-agree"

_ITEM: Final = re.compile(rf'(?:[^,"]++|{QUOTED})*', re.DOTALL)
_NAME: Final = re.compile(rf"(\s*[{TOKEN_CHARS}]+\s+)?\s*([{TOKEN_CHARS}]+)\s*=", re.ASCII)


def for_ue(response: Response) -> Response:
    """Copy a response without charging, private identities and keys, which no UE may see (PG-01, PT-12, PA-04)."""
    copy = response.copy()
    hide_from_ue(copy)
    for name in ("WWW-Authenticate", "Proxy-Authenticate"):
        if copy.has(name):
            _edit_each(copy, name, KEYS)
    return copy


def remove_security_agreement(request: Request) -> None:
    """Take out what UE and P-CSCF agree on between themselves (PA-03)."""
    request.remove_all(SECURITY_AGREEMENT)
    for name in ("Require", "Proxy-Require"):
        if request.has(name):
            _remove_option(request, name, SEC_AGREE)


def mark_unprotected(register: Request) -> None:
    """Tell the S-CSCF that a REGISTER did not come over a security association, whatever the UE wrote (PA-01)."""
    if register.has("Authorization"):
        _edit_each(register, "Authorization", MARKS, added='integrity-protected="no"')


def _remove_option(request: Request, name: str, option: str) -> None:
    options = request.values(name)
    kept = [value for value in options if value.lower() != option]
    if not kept:
        request.remove(name)
    elif len(kept) < len(options):
        request.set(name, ", ".join(kept))


def _edit_each(message: Message, name: str, removed: Collection[str], *, added: str = "") -> None:
    """Take parameters out of each field of a name, and add one; all else stays as it was written."""
    values = [without_params(value, removed) for value in message.get_all(name)]
    message.remove(name)
    for value in values:
        if value:
            message.append(name, f"{value}, {added}" if added else value)


def without_params(value: str, names: Collection[str]) -> str:
    """Cut parameters out of a challenge or credentials; "" if its quotes do not pair, for then they might hide some."""
    items = _split(value)
    kept: list[str] = []
    scheme = ""
    for item in items:
        match = _NAME.match(item)
        if match is not None and match[2].lower() in names:
            scheme = scheme or match[1] or ""  # `Digest ck="..", nonce=".."`: the scheme stays
            continue
        kept.append(scheme + item.lstrip() if scheme else item)
        scheme = ""
    return ",".join(kept)


def _split(value: str) -> list[str]:
    """Split at commas outside of quoted strings and keep every character; [] if the quotes do not pair."""
    items: list[str] = []
    position = -1
    while position < len(value):
        match = _ITEM.match(value, position + 1)
        assert match is not None  # noqa: S101  the pattern matches the empty string
        if match.end() < len(value) and value[match.end()] != ",":
            return []
        items.append(match[0])
        position = match.end()
    return items
