"""An HSS for benchmarks: Cx answers that are mostly made before anybody asks (TS 29.228 6.1 and 6.3, RFC 6733 5).

`python -m opencscf.labs.bench.hss --config hss.toml` is one process on uvloop. Its subscribers have consecutive IMSIs,
one key, and sip:IMSI@domain as their only public identity. A pool of AKA vectors is computed at start and dealt round
and round: every user gets a good vector, though not a fresh SQN, which SIPp does not look at. GET /health also tells
how many requests of each kind were answered.

Not covered: resynchronisation, profiles with filter criteria, requests of the HSS (RTR, PPR), errors in grouped AVPs.
"""

import argparse
import asyncio
import gc
import itertools
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, cast

import uvloop

from opencscf.common.config import Fqdn, Key128, Port, Range, SpecificIpAddress, load
from opencscf.common.errors import ConfigError, ParseError, StartupError
from opencscf.common.ims.aka import AuthVector, make_vector, next_sqn
from opencscf.common.ims.milenage import RAND_BYTES, derive_opc
from opencscf.common.node.health import HealthServer
from opencscf.common.node.settings import HealthSettings
from opencscf.common.transport.udp import bind
from opencscf.diameter import dictionary
from opencscf.diameter.codec import (
    PROXIABLE,
    Avp,
    DiameterMessage,
    Malformed,
    StreamDecoder,
    encode_avps,
    encode_header,
)
from opencscf.diameter.cx import (
    MultimediaAuthAnswer,
    ServerAssignmentType,
    ServerCapabilities,
    UserAuthorizationAnswer,
    UserAuthorizationType,
)
from opencscf.diameter.dictionary import TGPP, Application, Command
from opencscf.diameter.peer_connection import application_avps
from opencscf.diameter.results import Result, encode_result, result_avps
from opencscf.labs.config import Amf, Imsi

VECTORS: Final = 1024
# kamailio's cdp drops an answer that has an empty grouped AVP, so Server-Capabilities holds one
CAPABILITIES: Final = ServerCapabilities(mandatory=frozenset({0}))

_ENDING: Final = frozenset(
    {
        ServerAssignmentType.TIMEOUT_DEREGISTRATION,
        ServerAssignmentType.USER_DEREGISTRATION,
        ServerAssignmentType.ADMINISTRATIVE_DEREGISTRATION,
        ServerAssignmentType.AUTHENTICATION_FAILURE,
        ServerAssignmentType.AUTHENTICATION_TIMEOUT,
        ServerAssignmentType.DEREGISTRATION_TOO_MUCH_DATA,
    }
)


@dataclass(frozen=True, slots=True)
class BenchHssTable:
    """[hss]: who and where it is, and whom it knows."""

    address: SpecificIpAddress
    origin_host: Fqdn
    origin_realm: Fqdn  # also the domain of the identities
    first_imsi: Imsi
    k: Key128 = field(repr=False)
    op: Key128 = field(repr=False)
    amf: Amf = "8000"
    port: Port = 3868
    subscribers: Annotated[int, Range(1, 10_000_000)] = 100_000


@dataclass(frozen=True, slots=True)
class BenchHssSettings:
    """The whole file."""

    hss: BenchHssTable
    health: HealthSettings = field(default_factory=HealthSettings)


class BenchHss:
    """Answers requests; state is which S-CSCF serves which subscriber."""

    def __init__(self, table: BenchHssTable, rand: Callable[[int], bytes] = os.urandom) -> None:
        self.counts: Counter[str] = Counter()
        self.servers: list[bytes | None] = [None] * table.subscribers
        self._address = table.address
        self._first, self._digits = int(table.first_imsi), len(table.first_imsi)
        self._suffix = f"@{table.origin_realm}".encode()
        self._origin = [
            dictionary.ORIGIN_HOST.text(table.origin_host),
            dictionary.ORIGIN_REALM.text(table.origin_realm),
        ]
        self._common = encode_avps([*application_avps(Application.CX), *self._origin])
        self._names: dict[bytes, bytes] = {}
        self._success = self._body(encode_result(Result.SUCCESS))
        self._subsequent_registration = self._body(encode_result(Result.SUBSEQUENT_REGISTRATION))
        self._first_registration = self._body(
            UserAuthorizationAnswer(Result.FIRST_REGISTRATION, None, CAPABILITIES).encode()
        )
        vectors = make_vectors(table, VECTORS, rand)
        self._challenges = itertools.cycle(
            [self._body(MultimediaAuthAnswer(Result.SUCCESS, (vector,)).encode()) for vector in vectors]
        )
        self._handlers: dict[int, tuple[str, Callable[[Sequence[Avp]], bytes]]] = {
            Command.USER_AUTHORIZATION: ("UAR", self._on_user_authorization),
            Command.MULTIMEDIA_AUTH: ("MAR", self._on_multimedia_auth),
            Command.SERVER_ASSIGNMENT: ("SAR", self._on_server_assignment),
            Command.LOCATION_INFO: ("LIR", self._on_location_info),
        }

    def answer(self, request: DiameterMessage) -> bytes:
        """Answer any request, whole and ready to be sent."""
        command, application, flags, hop_by_hop, end_to_end, avps = request
        known = self._handlers.get(command)
        if known is None:
            self.counts[dictionary.command_name(command, is_request=True)] += 1
            return self._answer_base(request)
        name, handler = known
        self.counts[name] += 1
        session = dictionary.SESSION_ID.octets_in(avps)
        body = (b"" if session is None else dictionary.SESSION_ID.write_octets(session)) + handler(avps)
        return encode_header(command, application, flags & PROXIABLE, hop_by_hop, end_to_end, len(body)) + body

    def status(self) -> dict[str, object]:
        """Tell the health check how much was done."""
        registered = len(self.servers) - self.servers.count(None)
        return {"status": "ok", "subscribers": len(self.servers), "registered": registered, **self.counts}

    def _on_user_authorization(self, avps: Sequence[Avp]) -> bytes:
        index = self._by_impi(dictionary.USER_NAME.octets_in(avps))
        if index is None:
            return self._refuse(Result.USER_UNKNOWN)
        server = self.servers[index]
        if dictionary.USER_AUTHORIZATION_TYPE.number_in(avps) == UserAuthorizationType.DE_REGISTRATION:
            if server is None:
                return self._refuse(Result.IDENTITY_NOT_REGISTERED)
            return self._success + server
        return self._first_registration if server is None else self._subsequent_registration + server

    def _on_multimedia_auth(self, avps: Sequence[Avp]) -> bytes:
        user, identity = dictionary.USER_NAME.octets_in(avps), dictionary.PUBLIC_IDENTITY.octets_in(avps)
        index = self._by_impi(user)
        if index is None or user is None or identity is None:
            return self._refuse(Result.USER_UNKNOWN)
        server = dictionary.SERVER_NAME.octets_in(avps)
        if server is not None:
            self.servers[index] = self._shared(server)
        echo = dictionary.USER_NAME.write_octets(user) + dictionary.PUBLIC_IDENTITY.write_octets(identity)
        return echo + next(self._challenges)

    def _on_server_assignment(self, avps: Sequence[Avp]) -> bytes:
        impi = dictionary.USER_NAME.octets_in(avps)
        index = self._by_impu(dictionary.PUBLIC_IDENTITY.octets_in(avps)) if impi is None else self._by_impi(impi)
        kind = dictionary.SERVER_ASSIGNMENT_TYPE.number_in(avps)
        if index is None:
            return self._refuse(Result.USER_UNKNOWN)
        if kind in _ENDING:
            self.servers[index] = None
            return self._success
        server = dictionary.SERVER_NAME.octets_in(avps)
        if server is not None and kind != ServerAssignmentType.NO_ASSIGNMENT:
            self.servers[index] = self._shared(server)
        impi = self._impi(index)
        user = dictionary.USER_NAME.write_octets(impi)
        return self._success + user + dictionary.USER_DATA.write_octets(_profile(impi))

    def _on_location_info(self, avps: Sequence[Avp]) -> bytes:
        index = self._by_impu(dictionary.PUBLIC_IDENTITY.octets_in(avps))
        if index is None:
            return self._refuse(Result.USER_UNKNOWN)
        server = self.servers[index]
        return self._refuse(Result.IDENTITY_NOT_REGISTERED) if server is None else self._success + server

    def _answer_base(self, request: DiameterMessage) -> bytes:
        match request.command:
            case Command.CAPABILITIES_EXCHANGE:
                avps = [
                    *result_avps(Result.SUCCESS),
                    *self._origin,
                    dictionary.HOST_IP_ADDRESS.address(self._address),
                    dictionary.VENDOR_ID.number(TGPP),
                    dictionary.PRODUCT_NAME.text("OpenCSCF bench HSS"),
                    dictionary.SUPPORTED_VENDOR_ID.number(TGPP),
                    dictionary.VENDOR_SPECIFIC_APPLICATION_ID.group(
                        dictionary.VENDOR_ID.number(TGPP), dictionary.AUTH_APPLICATION_ID.number(Application.CX)
                    ),
                ]
            case Command.DEVICE_WATCHDOG | Command.DISCONNECT_PEER:
                avps = [*result_avps(Result.SUCCESS), *self._origin]
            case _:
                avps = [*result_avps(Result.COMMAND_UNSUPPORTED), *self._origin]
                return request.answer(avps, is_error=True).encode()
        return request.answer(avps).encode()

    def _body(self, avps: bytes) -> bytes:
        return self._common + avps

    def _refuse(self, result: Result) -> bytes:
        self.counts["refused"] += 1
        return self._body(encode_result(result))

    def _shared(self, server: bytes) -> bytes:
        """Keep one copy of an S-CSCF's name, written, for all its users."""
        name = self._names.get(server)
        if name is None:
            name = self._names[server] = dictionary.SERVER_NAME.write_octets(server)
        return name

    def _impi(self, index: int) -> bytes:
        return b"%0*d" % (self._digits, self._first + index) + self._suffix

    def _by_impi(self, impi: bytes | None) -> int | None:
        if impi is None or not impi.endswith(self._suffix):
            return None
        digits = impi[: -len(self._suffix)]
        index = int(digits) - self._first if digits.isdigit() else -1
        return index if 0 <= index < len(self.servers) else None

    def _by_impu(self, impu: bytes | None) -> int | None:
        return self._by_impi(impu[4:]) if impu is not None and impu.startswith(b"sip:") else None


def _profile(impi: bytes) -> bytes:
    return (
        b'<?xml version="1.0" encoding="UTF-8"?><IMSSubscription><PrivateID>%b</PrivateID><ServiceProfile>'
        b"<PublicIdentity><BarringIndication>0</BarringIndication><Identity>sip:%b</Identity></PublicIdentity>"
        b"</ServiceProfile></IMSSubscription>" % (impi, impi)
    )


def make_vectors(table: BenchHssTable, count: int, rand: Callable[[int], bytes]) -> list[AuthVector]:
    """Make vectors whose RES SIPp can use: it takes a zero octet for the end of a password."""
    k = bytes.fromhex(table.k)
    opc = derive_opc(k, bytes.fromhex(table.op))
    amf = bytes.fromhex(table.amf)
    vectors: list[AuthVector] = []
    sqn = 0
    while len(vectors) < count:
        sqn = next_sqn(sqn)
        vector = make_vector(k, opc, sqn, amf, rand(RAND_BYTES))
        if 0 not in vector.xres:
            vectors.append(vector)
    return vectors


class HssConnection(asyncio.Protocol):
    """One Diameter connection: what arrives together is answered together."""

    def __init__(self, hss: BenchHss) -> None:
        self._hss = hss
        self._decoder = StreamDecoder()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are written to; uvloop's own class only looks like a transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        answers = []
        try:
            self._decoder.receive(data)
            while (message := self._decoder.next_message()) is not None:
                if isinstance(message, Malformed):
                    self._hss.counts["malformed"] += 1
                elif message.is_request:
                    answers.append(self._hss.answer(message))
        except ParseError as error:
            print(f"bench-hss: the stream is lost: {error.reason}", file=sys.stderr)
            self._transport.abort()
            return
        if answers:
            self._transport.write(b"".join(answers))


async def _serve(settings: BenchHssSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    hss = BenchHss(settings.hss)
    listening = bind((settings.hss.address, settings.hss.port), socket.SOCK_STREAM, "tcp")
    server = await loop.create_server(lambda: HssConnection(hss), sock=listening)
    health = None
    if settings.health.port:
        health = HealthServer(loop, (settings.health.address, settings.health.port), hss.status)
        await health.start()
    gc.collect()
    gc.freeze()
    await stopped.wait()
    server.close()
    if health is not None:
        health.close()


def main() -> int:
    """Run until a signal stops it."""
    parser = argparse.ArgumentParser(prog="bench-hss")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="its settings, in TOML")
    options = parser.parse_args()
    try:
        uvloop.run(_serve(load(options.config, BenchHssSettings)))
    except ConfigError as error:
        print(*error.faults, sep="\n", file=sys.stderr)
        return 2
    except StartupError as error:
        print(f"bench-hss: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
