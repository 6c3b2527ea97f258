"""A simulated UE: its SIM, what it learned when it registered, and the requests it writes (TS 24.229 5.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from opencscf.common.errors import StartupError
from opencscf.common.ims.aka import Usim
from opencscf.common.ims.identity import impi_of_imsi, temporary_impu
from opencscf.common.ims.milenage import derive_opc
from opencscf.common.node.trace import host_port
from opencscf.common.sip.message import Request, Response
from opencscf.labs.ue.endpoint import Address, Endpoint, StepError

if TYPE_CHECKING:
    from types import TracebackType

    from opencscf.common.node.trace import Trace
    from opencscf.common.sip.timers import TimerValues

MAX_FORWARDS = "70"
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY"
MMTEL = "urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel"  # TS 24.173 5.1, escaped as in TS 24.229 7.9.2


@dataclass(frozen=True, slots=True)
class SimCard:
    """What is on the SIM: who the subscriber is and the key that proves it."""

    imsi: str
    domain: str
    k: bytes = field(repr=False)
    opc: bytes = field(repr=False)
    plmn: str = "00101"  # mobile country and network code

    @classmethod
    def of(
        cls, imsi: str, domain: str, *, k: str, op: str | None = None, opc: str | None = None, plmn: str = "00101"
    ) -> SimCard:
        """Make a SIM from hexadecimal key material; OPc follows from OP if only that is known."""
        key = bytes.fromhex(k)
        if opc is not None:
            return cls(imsi, domain, key, bytes.fromhex(opc), plmn)
        if op is not None:
            return cls(imsi, domain, key, derive_opc(key, bytes.fromhex(op)), plmn)
        raise StartupError(f"{imsi}: neither OP nor OPc is known")


@dataclass(slots=True)
class Registration:
    """What lasts from one REGISTER to the next, and what the network said in its 200 (OK)."""

    call_id: str
    from_tag: str
    cseq: int = 0
    service_route: tuple[str, ...] = ()
    associated_uris: tuple[str, ...] = ()
    expires_s: int = 0

    @property
    def is_active(self) -> bool:
        """Whether the UE is registered as far as it knows."""
        return self.expires_s > 0


class DialogUser(Protocol):
    """Whoever takes the requests of a dialog."""

    def on_request(self, request: Request) -> None:
        """Take a request in the dialog."""
        ...


class Ue:
    """One UE, an asynchronous context that opens and closes its socket."""

    def __init__(
        self,
        name: str,
        sim: SimCard,
        local: Address,
        pcscf: Address,
        *,
        patience_s: float = 6.0,
        trace: Trace | None = None,
        timers: TimerValues | None = None,
    ) -> None:
        self.name = name
        self.sim = sim
        self.pcscf = pcscf
        self.patience_s = patience_s
        self.impi = impi_of_imsi(sim.imsi, sim.domain)
        self.impu = temporary_impu(sim.imsi, sim.domain)
        self.usim = Usim(sim.k, sim.opc)
        self.endpoint = Endpoint(name, local, trace=trace, timers=timers)
        self.calls: dict[tuple[str, str], DialogUser] = {}  # by Call-ID and our own tag
        self.registration = Registration(call_id=self.endpoint.ids.token(), from_tag=self.endpoint.ids.tag())

    async def __aenter__(self) -> Self:
        """Open the socket."""
        await self.endpoint.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket; a registration is left to expire unless it was ended before."""
        await self.endpoint.close()

    @property
    def public_identity(self) -> str:
        """The identity to call by and be called by: the network's default one once registered (5.1.2A.1)."""
        return self.registration.associated_uris[0] if self.registration.associated_uris else self.impu

    @property
    def contact(self) -> str:
        """The URI at which this UE is reached."""
        return f"sip:{self.sim.imsi}@{host_port(self.endpoint.local)}"

    @property
    def access_network(self) -> str:
        """P-Access-Network-Info of an LTE cell of the SIM's network (TS 24.229 7.2A.4)."""
        cell = f"{self.sim.plmn}00010000001"  # tracking area 0001, cell 0000001
        return f"3GPP-E-UTRAN-FDD; utran-cell-id-3gpp={cell}"

    def new_request(self, method: str, uri: str, headers: list[tuple[str, str]], body: bytes = b"") -> Request:
        """Write a request with what all of a UE's requests carry; the Via comes when it is sent."""
        common = [("Max-Forwards", MAX_FORWARDS), *headers, ("P-Access-Network-Info", self.access_network)]
        return Request.new(method, uri, common, body=body, content_type="application/sdp" if body else "")

    def originating_routes(self) -> list[tuple[str, str]]:
        """Route of an initial request: the P-CSCF, then the Service-Route in order (5.1.2A.1.1)."""
        routes = [f"<sip:{host_port(self.pcscf)};lr>", *self.registration.service_route]
        return [("Route", route) for route in routes]

    def expect(self, response: Response, step: str, *accepted: int) -> None:
        """Raise `StepError` with the network's own words if the status is none of the accepted ones."""
        if response.status in accepted:
            return
        why = " ".join(filter(None, (response.get("Warning"), response.get("Reason"))))
        text = f"{self.name}: {step} was answered {response.status} {response.reason}"
        raise StepError(f"{text} ({why})" if why else text)
