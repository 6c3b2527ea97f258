from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from opencscf.common.ims.aka import Usim
from opencscf.labs.ue.aka_registration import deregister, register
from opencscf.labs.ue.endpoint import StepError

if TYPE_CHECKING:
    from opencscf.labs.ue.ue import Ue

# Any: the fixtures' types live in conftest.py, which cannot be imported from.


def test_initial_registration_answers_the_challenge_and_keeps_what_the_network_says(with_registrar: Any) -> None:
    async def scenario(registrar: Any, ue: Ue) -> None:
        await register(ue)
        assert ue.registration.expires_s == registrar.granted_s
        assert ue.registration.service_route == ("<sip:orig@scscf.example:5060;lr>",)
        assert ue.registration.associated_uris[1] == "tel:+15550000001"
        assert ue.public_identity.startswith("sip:15550000001@")
        first, second = registrar.seen
        assert (first.cseq.number, second.cseq.number) == (1, 2)
        assert first.call_id == second.call_id
        assert 'nonce=""' in (first.get("Authorization") or "")
        assert first.via.has_rport

    with_registrar(scenario)


def test_reregistration_then_deregistration_stay_in_the_same_call_id(with_registrar: Any) -> None:
    async def scenario(registrar: Any, ue: Ue) -> None:
        await register(ue)
        await register(ue)
        assert ue.registration.is_active
        await deregister(ue)
        assert not ue.registration.is_active
        assert len({request.call_id for request in registrar.seen}) == 1
        assert registrar.seen[-1].expires == 0

    with_registrar(scenario)


def test_stale_sequence_number_is_resynchronised_with_auts(with_registrar: Any) -> None:
    async def scenario(registrar: Any, ue: Ue) -> None:
        ue.usim = Usim(registrar.k, registrar.opc, sqn_ms=1000 << 5)
        await register(ue)
        assert registrar.resyncs == 1
        assert ue.registration.is_active

    with_registrar(scenario)


def test_challenge_made_with_another_key_is_refused_and_named(with_registrar: Any) -> None:
    async def scenario(registrar: Any, ue: Ue) -> None:
        registrar.challenge_opc = bytes(16)
        with pytest.raises(StepError, match=r"^UE 1: the network's challenge is not made with this SIM's key"):
            await register(ue)

    with_registrar(scenario)


def test_endless_challenges_are_a_loop_that_ends(with_registrar: Any) -> None:
    async def scenario(registrar: Any, ue: Ue) -> None:
        registrar.judge = lambda request, _: registrar.challenge(request)
        with pytest.raises(StepError, match="challenged 4 times"):
            await register(ue)

    with_registrar(scenario)


def test_lost_requests_are_retransmitted(with_registrar: Any) -> None:
    async def scenario(registrar: Any, ue: Ue) -> None:
        receive = registrar.endpoint._receive
        lost: list[bytes] = []

        def lossy(data: bytes, source: tuple[str, int]) -> None:
            if len(lost) < 2:
                lost.append(data)
            else:
                receive(data, source)

        registrar.endpoint._receive = lossy
        await register(ue)
        assert lost[0] == lost[1]
        assert ue.registration.is_active

    with_registrar(scenario)


def test_silence_names_the_ue_the_step_and_the_peer(with_registrar: Any) -> None:
    async def scenario(registrar: Any, ue: Ue) -> None:
        registrar.drops = 100
        ue.patience_s = 0.2
        host, port = registrar.endpoint.local
        with pytest.raises(StepError, match=rf"^UE 1: no answer to REGISTER from {host}:{port} in 0\.2 s$"):
            await register(ue)

    with_registrar(scenario)


def test_refusal_is_told_in_the_networks_words(with_registrar: Any) -> None:
    async def scenario(registrar: Any, ue: Ue) -> None:
        registrar.opc = bytes(16)
        registrar.vector = None
        registrar.judge = lambda request, _: registrar.endpoint.answer(
            request, 403, headers=(("Warning", '399 scscf "user unknown"'),)
        )
        registrar.opc = registrar.challenge_opc
        with pytest.raises(StepError, match=r'UE 1: REGISTER was answered 403 Forbidden \(399 scscf "user unknown"\)'):
            await register(ue)

    with_registrar(scenario)
