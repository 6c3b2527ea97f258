"""An S-CSCF, a UE to register with it, and somebody who plays HSS and store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from opencscf.common.actions import Action, Outcome, Procedure, Question, Save
from opencscf.common.events import RequestReceived, Started, TimerFired
from opencscf.common.ids import Ids
from opencscf.common.ims.aka import AuthVector
from opencscf.common.node.settings import ListenSettings, SipSettings
from opencscf.common.sip import digest
from opencscf.common.sip.message import Request
from opencscf.common.sip.proxy import OwnUris
from opencscf.diameter.cx import (
    MultimediaAuthAnswer,
    MultimediaAuthRequest,
    ServerAssignmentAnswer,
    ServerAssignmentRequest,
    ServerAssignmentType,
)
from opencscf.diameter.results import Result
from opencscf.diameter.settings import DiameterSettings, PeerSettings
from opencscf.scscf.config import RegistrationTable, ScscfConfig, ScscfTable
from opencscf.scscf.core import SCscf

DOMAIN = "ims.test"
SERVER_NAME = "sip:scscf.ims.test:6060"
PROFILE = (Path(__file__).parent / "profiles" / "lab.xml").read_bytes()
START = 1_800_000_000.0

Asked: TypeAlias = list[Question[Any]]


@dataclass(frozen=True)
class Ue:
    """A UE's REGISTERs; the answer to a challenge is computed from the vector, as a UE with the right key would."""

    impi: str = "001010000000001@ims.test"
    impu: str = "sip:001010000000001@ims.test"
    address: str = "127.0.2.1:5060"
    call_id: str = "reg-1"
    user: str = "001010000000001"

    @property
    def contact(self) -> str:
        return f"<sip:{self.user}@{self.address}>"

    def register(
        self,
        cseq: int = 1,
        *,
        contact: str | None = "own",
        expires: str | None = "600000",
        authorization: str | None = "",
        path: tuple[str, ...] = ("<sip:token@pcscf.ims.test;lr>",),
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Request:
        fields = [
            ("Via", f"SIP/2.0/UDP 127.0.1.11:5060;branch=z9hG4bK{self.call_id}{cseq}"),
            ("Max-Forwards", "68"),
            ("From", f"<{self.impu}>;tag=ue"),
            ("To", f"<{self.impu}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} REGISTER"),
            ("Require", "path"),
            ("P-Visited-Network-ID", '"ims.test"'),
            *(("Path", hop) for hop in path),
            *headers,
        ]
        if contact is not None:
            fields.append(("Contact", self.contact if contact == "own" else contact))
        if expires is not None:
            fields.append(("Expires", expires))
        if authorization is not None:
            fields.append(("Authorization", authorization or self.credentials()))
        return Request.new("REGISTER", SERVER_NAME, fields)

    def credentials(self, **params: str) -> str:
        """Authorization as it comes from a UE through the P-CSCF; without params that of an initial REGISTER."""
        values = {
            "username": self.impi,
            "realm": DOMAIN,
            "uri": f"sip:{DOMAIN}",
            "nonce": "",
            "response": "",
            "integrity_protected": "no",
            **params,
        }
        bare = {"algorithm", "qop", "nc"}
        pairs = [(name.replace("_", "-"), value) for name, value in values.items() if value != "absent"]
        return "Digest " + ",".join(f"{name}={value}" if name in bare else f'{name}="{value}"' for name, value in pairs)

    def answer(
        self, vector: AuthVector, *, qop: str = "auth", body: bytes = b"", res: bytes | None = None, **params: str
    ) -> str:
        """Authorization that answers a challenge."""
        nonce = digest.aka_nonce(vector.rand, vector.autn)
        more = {"qop": qop, "nc": "00000001", "cnonce": "abc"} if qop else {}
        response = digest.response(
            username=self.impi,
            realm=DOMAIN,
            nonce=nonce,
            uri=f"sip:{DOMAIN}",
            method="REGISTER",
            password=vector.xres if res is None else res,
            entity_body=body,
            algorithm="AKAv1-MD5",
            **more,
        )
        return self.credentials(**{"nonce": nonce, "response": response, "algorithm": "AKAv1-MD5", **more, **params})


def vector(number: int = 1) -> AuthVector:
    """One of many authentication vectors; an XRES that is no text, to see that it is taken as it is."""
    octets = [bytes([number + part]) * 16 for part in (0x10, 0x20, 0x30, 0x40)]
    return AuthVector(octets[0], octets[1], bytes([0x00, 0x5B, 0xFF, number] * 2), octets[2], octets[3])


class Registrar:
    """The S-CSCF under test and its time."""

    def __init__(self, config: ScscfConfig) -> None:
        self.config = config
        self.now = START
        self.stored: dict[str, dict[str, Any] | None] = {}
        self.start()

    def start(self) -> list[Action]:
        """Start the S-CSCF with what was stored, as after a restart."""
        own = OwnUris.of([("scscf.ims.test", 6060), ("127.0.1.12", 6060)])
        restored = [(key, value) for key, value in self.stored.items() if value is not None]
        self.core = SCscf(self.config, own, Ids(seed=1), restored)
        outcome = self.core.on_event(Started(self.now))
        assert isinstance(outcome, list)
        return outcome

    def receive(self, request: Request, *answers: object) -> tuple[Asked, list[Action]]:
        """Take a request; `answers` are the HSS's, in order. What is saved is stored and not among the questions."""
        return self.drive(self.core.on_event(RequestReceived(request, self.now)), *answers)

    def fire(self, key: object, *answers: object) -> tuple[Asked, list[Action]]:
        return self.drive(self.core.on_event(TimerFired(key, self.now)), *answers)

    def drive(self, outcome: Outcome, *answers: object) -> tuple[Asked, list[Action]]:
        if not isinstance(outcome, Procedure):
            assert not answers
            return [], outcome
        asked: Asked = []
        remaining = list(answers)
        try:
            question = outcome.coroutine.send(None)
            while True:
                if isinstance(question, Save):
                    self.stored[question.key] = question.value
                    question = outcome.coroutine.send(None)
                    continue
                asked.append(question)
                assert remaining, f"no answer for {question}"
                answer = remaining.pop(0)
                if isinstance(answer, Exception):
                    question = outcome.coroutine.throw(answer)
                else:
                    question = outcome.coroutine.send(answer)
        except StopIteration as end:
            assert not remaining
            actions: list[Action] = end.value
            return asked, actions

    def challenge(self, ue: Ue, number: int = 1, cseq: int = 1) -> AuthVector:
        """Bring a UE as far as the 401."""
        challenge = vector(number)
        self.receive(ue.register(cseq), MultimediaAuthAnswer(Result.SUCCESS, (challenge,)))
        return challenge

    def register(self, ue: Ue, number: int = 1, cseq: int = 1, **how: Any) -> list[Action]:  # as of Ue.register
        """Register a UE as a whole."""
        challenge = self.challenge(ue, number, cseq)
        request = ue.register(cseq + 1, authorization=ue.answer(challenge), **how)
        profile = PROFILE.replace(b"<PrivateID>001010000000001@ims.test", f"<PrivateID>{ue.impi}".encode())
        _, actions = self.receive(request, ServerAssignmentAnswer(Result.SUCCESS, profile))
        return actions

    def mar(self, ue: Ue, resync: bytes | None = None) -> MultimediaAuthRequest:
        return MultimediaAuthRequest(ue.impi, ue.impu, SERVER_NAME, resync=resync)

    def sar(self, ue: Ue, kind: ServerAssignmentType, *, has_data: bool = False) -> ServerAssignmentRequest:
        return ServerAssignmentRequest(ue.impi, ue.impu, SERVER_NAME, kind, has_data)


@pytest.fixture
def config() -> ScscfConfig:
    return ScscfConfig(
        sip=SipSettings((ListenSettings("127.0.1.12", 6060),)),
        cx=DiameterSettings("scscf.ims.test", DOMAIN, DOMAIN, (PeerSettings("hss.ims.test", "127.0.1.14"),)),
        scscf=ScscfTable(DOMAIN, SERVER_NAME, "sip:icscf.ims.test:5060"),
        registration=RegistrationTable(max_contacts=3),
    )


@pytest.fixture
def registrar(config: ScscfConfig) -> Registrar:
    return Registrar(config)


@pytest.fixture
def ue() -> Ue:
    return Ue()


@pytest.fixture
def other_ue(ue: Ue) -> Ue:
    """A second subscriber, whose identities its own profile must name."""
    return replace(ue, impi="001010000000002@ims.test", impu="sip:001010000000002@ims.test", call_id="reg-2")
