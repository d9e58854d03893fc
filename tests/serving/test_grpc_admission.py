"""gRPC's calls pass the guard that HTTP's requests pass: the end of a queue is refused in a way that clients retry."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from pipelines.server_process import RunningServer, server
from tests.serving.bundles import own_home

ASKED = 60
ROUTE = "/inference.GRPCInferenceService/ModelInfer"
UNTRIED = [("grpc.enable_retries", 0)]


@pytest.fixture(scope="module")
def hurried(trained, tmp_path_factory) -> Iterator[RunningServer]:
    """A server that lets nobody wait for long."""
    home = own_home(trained, tmp_path_factory.mktemp("hurried"))
    with server(home, queue_seconds=0.02, cache_seconds=0, log_impressions=False) as running:
        yield running


async def asked_at_once(running: RunningServer, count: int, options: Any) -> list[Any]:
    """Answers and errors of calls of KServe's own client that all wait for a process which is stopped."""
    from kserve import InferenceGRPCClient

    client = InferenceGRPCClient(url=f"127.0.0.1:{running.grpc_port}", channel_args=options)
    try:
        await client.is_server_live()
        os.kill(running.pid, signal.SIGSTOP)
        calls = [asyncio.create_task(client.infer(question("u2"))) for _ in range(count)]
        await asyncio.wait(calls, timeout=0.5)
        os.kill(running.pid, signal.SIGCONT)
        return await asyncio.gather(*calls, return_exceptions=True)
    finally:
        os.kill(running.pid, signal.SIGCONT)
        await client.close()


def question(user_id: str, k: int = 40) -> Any:
    from kserve import InferInput, InferRequest

    user, most = InferInput("user_id", [1], "BYTES", [user_id]), InferInput("k", [1], "INT64", [k])
    return InferRequest(model_name="recommender", infer_inputs=[user, most])


def counted(running: RunningServer) -> dict[str, float]:
    """Answers to gRPC by status."""
    start = f'recsys_server_requests_total{{route="{ROUTE}",status="'
    lines = [line for line in httpx.get(f"{running.url}/metrics").text.splitlines() if line.startswith(start)]
    return {line[len(start) :].partition('"')[0]: float(line.split()[-1]) for line in lines}


def test_end_of_the_queue_is_refused_with_a_hint_and_counted(hurried):
    before = counted(hurried)
    answers = asyncio.run(asked_at_once(hurried, ASKED, list(UNTRIED)))
    refused = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert 0 < len(refused) < ASKED, answers[0]
    assert Counter(one.code() for one in refused) == {grpc.StatusCode.UNAVAILABLE: len(refused)}
    assert all("too many requests wait" in one.details() for one in refused)
    pauses = [int(dict(one.trailing_metadata())["grpc-retry-pushback-ms"]) for one in refused]
    assert all(500 <= pause <= 1500 for pause in pauses)
    assert len(set(pauses)) > 1  # not all at once again
    served = [one for one in answers if not isinstance(one, BaseException)]
    assert len(served) == ASKED - len(refused)
    after = counted(hurried)
    told = {status: after[status] - before.get(status, 0) for status in after}
    assert told == {"200": len(served), "503": len(refused)}


def test_kserves_client_comes_back_by_the_hint_and_is_answered(hurried):
    before = counted(hurried)
    answers = asyncio.run(asked_at_once(hurried, 4, None))  # as it is by default: up to three tries
    assert [one for one in answers if isinstance(one, BaseException)] == []
    after = counted(hurried)
    assert after["200"] - before.get("200", 0) == 4  # whether at once or, on a busy machine, after a pause


def test_health_is_told_and_a_mistake_is_counted_as_one(hurried):
    from kserve import InferenceGRPCClient

    async def ask() -> grpc.StatusCode:
        client = InferenceGRPCClient(url=f"127.0.0.1:{hurried.grpc_port}")
        assert await client.is_server_ready()
        with pytest.raises(grpc.aio.AioRpcError, match=r"inputs\.0\.k: Input should be greater") as refusal:
            await client.infer(question("u2", k=0))
        await client.close()
        return refusal.value.code()

    before = counted(hurried)
    assert asyncio.run(ask()) == grpc.StatusCode.INVALID_ARGUMENT
    assert counted(hurried)["400"] == before.get("400", 0) + 1
