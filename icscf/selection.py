"""Choosing an S-CSCF for a user by its capabilities (TS 24.229 5.3.1.2, TS 29.228 6.7)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import ParseError
from opencscf.common.sip.head import DEFAULT_PORT
from opencscf.common.sip.uri import SipUri

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opencscf.diameter.cx import ServerCapabilities


CACHED_NAMES: Final = 256  # a network has few S-CSCFs


@dataclass(frozen=True, slots=True)
class Candidate:
    """An S-CSCF that this network has, and what it can do."""

    uri: SipUri
    capabilities: frozenset[int] = frozenset()


class ScscfPool:
    """The S-CSCFs of this network, the preferred ones first."""

    __slots__ = ("_candidates", "_named")

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._candidates = tuple(candidates)
        self._named = lru_cache(CACHED_NAMES)(self._read_name)

    def named(self, server_name: str | None) -> SipUri | None:
        """Read the HSS's Server-Name, which may lack scheme and port; None if it names nobody.

        A name without port means the S-CSCF that we know by that host, if there is one.
        """
        return self._named(server_name or "")

    def _read_name(self, server_name: str) -> SipUri | None:
        text = server_name.strip()
        if not text.lower().startswith(("sip:", "sips:")):
            text = f"sip:{text}"
        try:
            uri = SipUri.parse(text)
        except ParseError:
            return None
        if uri.port is None:
            return next((known.uri for known in self._candidates if known.uri.host.lower() == uri.host.lower()), uri)
        return uri

    def select(self, capabilities: ServerCapabilities | None, tried: Sequence[SipUri] = ()) -> SipUri | None:
        """Choose the best S-CSCF that has not been tried, or None.

        Those the HSS asks for by name come first. Then: all mandatory capabilities, as many optional ones as possible,
        the order of the configuration.
        """
        if capabilities is None and not tried and self._candidates:
            return self._candidates[0].uri
        mandatory = capabilities.mandatory if capabilities else frozenset()
        optional = capabilities.optional if capabilities else frozenset()
        wanted = [self.named(name) for name in capabilities.server_names] if capabilities else []
        able = [candidate for candidate in self._candidates if mandatory <= candidate.capabilities]
        able.sort(key=lambda candidate: -len(optional & candidate.capabilities))
        choices = [*wanted, *(candidate.uri for candidate in able)]
        used = {_address(uri) for uri in tried}
        return next((uri for uri in choices if uri is not None and _address(uri) not in used), None)


def _address(uri: SipUri) -> tuple[str, int]:
    return uri.host.lower(), uri.port or DEFAULT_PORT
