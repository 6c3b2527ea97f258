"""A registrar small enough to judge the UE by: one P-CSCF, S-CSCF and HSS in one object, on the UE's own endpoint."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from opencscf.common.ims.aka import make_vector, next_sqn, verify_auts
from opencscf.common.ims.milenage import derive_opc
from opencscf.common.sip import digest
from opencscf.common.sip.headers import Challenge, Credentials
from opencscf.common.sip.timers import TimerValues
from opencscf.labs.ue.endpoint import Endpoint
from opencscf.labs.ue.ue import SimCard, Ue

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from opencscf.common.sip.message import Request

K = "fec86ba6eb707ed08905757b1bb44b8f"  # TS 35.208 set 3
OP = "dbc59adcb6f9a0ef735477b7fadf8374"
DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
FAST = TimerValues(t1=0.05, t2=0.2, t4=0.2)


class Registrar:
    """Answers REGISTER as the network would and sends every other request on to the UE it is for."""

    def __init__(self) -> None:
        self.endpoint = Endpoint("registrar", ("127.0.0.1", 0), timers=FAST)
        self.endpoint.on_request = self.on_request
        self.k = bytes.fromhex(K)
        self.opc = derive_opc(self.k, bytes.fromhex(OP))
        self.sqn = 64
        self.resyncs = 0
        self.granted_s = 3600
        self.drops = 0  # requests to lose before the first answer
        self.seen: list[Request] = []
        self.challenge_opc = self.opc

    def on_request(self, request: Request) -> None:
        self.seen.append(request)
        if self.drops:
            self.drops -= 1
            return
        if request.method != "REGISTER":
            self.endpoint.answer(request, 480)
            return
        credentials = Credentials.parse(request.get("Authorization") or "")
        auts = credentials.get("auts")
        if auts is not None:
            rand, _ = digest.parse_aka_nonce(credentials.get("nonce") or "")
            sqn = verify_auts(self.k, self.opc, rand, digest.parse_auts(auts))
            assert sqn is not None
            assert digest.verify(credentials, "REGISTER", password=b"")
            self.sqn = sqn
            self.resyncs += 1
            self.challenge(request)
        elif not credentials.get("nonce"):
            self.challenge(request)
        else:
            self.judge(request, credentials)

    def challenge(self, request: Request) -> None:
        self.sqn = next_sqn(self.sqn)
        self.vector = make_vector(self.k, self.challenge_opc, self.sqn, b"\x80\x00", bytes(range(16)))
        nonce = digest.aka_nonce(self.vector.rand, self.vector.autn)
        params = {"realm": DOMAIN, "nonce": nonce, "algorithm": "AKAv1-MD5", "qop": "auth"}
        self.endpoint.answer(request, 401, headers=(("WWW-Authenticate", str(Challenge("Digest", params))),))

    def judge(self, request: Request, credentials: Credentials) -> None:
        if not digest.verify(credentials, "REGISTER", password=self.vector.xres):
            self.endpoint.answer(request, 403)
            return
        granted = min(self.granted_s, request.expires or 0)
        contact = request.contacts[0].without_params("expires")
        headers = [("Service-Route", "<sip:orig@scscf.example:5060;lr>")]
        headers += [("P-Associated-URI", f"<sip:15550000001@{DOMAIN}>, <tel:+15550000001>")]
        if granted:
            headers.append(("Contact", f"{contact};expires={granted}"))
        self.endpoint.answer(request, 200, headers=tuple(headers))


def make_ue(name: str, registrar: Endpoint, *, patience_s: float = 2.0, imsi: str = "001010000000001") -> Ue:
    sim = SimCard.of(imsi, DOMAIN, k=K, op=OP)
    return Ue(name, sim, ("127.0.0.1", 0), registrar.local, patience_s=patience_s, timers=FAST)


@pytest.fixture
def with_registrar() -> Callable[[Callable[[Registrar, Ue], Coroutine[None, None, None]]], None]:
    """Run a coroutine function with a registrar and an open UE."""

    def run(scenario: Callable[[Registrar, Ue], Coroutine[None, None, None]]) -> None:
        async def main() -> None:
            registrar = Registrar()
            await registrar.endpoint.open()
            try:
                async with make_ue("UE 1", registrar.endpoint) as ue:
                    async with asyncio.timeout(10):
                        await scenario(registrar, ue)
            finally:
                await registrar.endpoint.close()

        asyncio.run(main())

    return run


@pytest.fixture
def with_pair() -> Callable[[Callable[[Ue, Ue], Coroutine[None, None, None]]], None]:
    """Run a coroutine function with two UEs, each the other's P-CSCF."""

    def run(scenario: Callable[[Ue, Ue], Coroutine[None, None, None]]) -> None:
        async def main() -> None:
            nobody = Endpoint("nobody", ("127.0.0.1", 9))
            caller, callee = make_ue("UE 1", nobody), make_ue("UE 2", nobody, imsi="001010000000002")
            async with caller, callee:
                caller.pcscf, callee.pcscf = callee.endpoint.local, caller.endpoint.local
                async with asyncio.timeout(10):
                    await scenario(caller, callee)

        asyncio.run(main())

    return run
