"""What a registered user costs an S-CSCF."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import TYPE_CHECKING, Any, TypeAlias

from opencscf.common.ids import Ids
from opencscf.common.sip.proxy import OwnUris
from opencscf.scscf.core import SCscf

if TYPE_CHECKING:
    from collections.abc import Iterator

Registrar: TypeAlias = Any  # the classes of conftest.py, which cannot be imported
Ue: TypeAlias = Any

USERS = 2000
MAX_BYTES_PER_USER = 4.5 * 1024  # of the 6 KiB that the three nodes may take


def records(registrar: Registrar) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what was stored of one user for many users like that one."""
    ((key, value),) = registrar.stored.items()
    text = json.dumps([key, value])
    for number in range(USERS):
        end = f"{number:07}"
        key, value = json.loads(text.replace("0000001", end).replace("000-0001", f"{end[:3]}-{end[3:]}"))
        yield key, value


def test_memory_of_a_registered_user(registrar: Registrar, ue: Ue) -> None:
    """Kamailio's IMS modules take 5 KiB at the S-CSCF; the bounded caches that fill up here count as well."""
    registrar.register(ue)
    gc.collect()
    tracemalloc.start()
    core = SCscf(registrar.config, OwnUris.of([]), Ids(seed=1), records(registrar))
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sum(1 for _ in core._state) == USERS
    assert used / USERS < MAX_BYTES_PER_USER


def test_equal_strings_are_one(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue)
    registrar.start()
    (registration,) = registrar.core._state
    identity = registration.profile.find(ue.impu)
    assert registration.impu is identity.impu is identity.uri
    assert registrar.core._state.by_key(registration.key) is registration


def test_users_may_share_an_identity(registrar: Registrar, ue: Ue, other_ue: Ue) -> None:
    """TS 23.228 4.3.3.4: each is found by it, whichever comes or goes."""
    registrar.register(ue)
    registrar.register(other_ue)
    state = registrar.core._state
    first, second = state.registration(ue.impi, ue.impu), state.registration(other_ue.impi, other_ue.impu)
    shared = first.profile.identities[1].impu
    assert state.registrations(shared) == (first, second)
    state.put(first._replace(nonce="new"))
    assert [found.impi for found in state.registrations(shared)] == [other_ue.impi, ue.impi]
    state.remove(second)
    assert [found.nonce for found in state.registrations(shared)] == ["new"]
    state.remove(first)
    assert state.registrations(shared) == ()
    assert state.registration(ue.impi, shared) is None
