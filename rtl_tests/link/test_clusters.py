"""ClusterRouter and RunMonitor, in Amaranth's simulator."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from plum_hw.gateware.link.cluster_router import ClusterRouter
from plum_hw.gateware.link.run_monitor import RunMonitor

CLUSTERS = 3


@pytest.mark.parametrize("seed", range(4))
def test_router_gives_each_cluster_what_is_meant_for_it(seed: int) -> None:
    rng = random.Random(seed)
    router = ClusterRouter(CLUSTERS)
    writes = [(rng.randrange(1, 1 << CLUSTERS), number) for number in range(60)]
    taken: list[list[int]] = [[] for _ in range(CLUSTERS)]
    request = router.host.request

    async def host(context) -> None:
        for targets, number in writes:
            context.set(router.targets, targets)
            context.set(request.payload.data, number)
            context.set(request.valid, 1)
            await context.tick().until(request.ready)
            context.set(request.valid, 0)
            if rng.random() < 0.5:
                await context.tick()

    def cluster(number: int):
        port = router.ports[number].request
        waits = random.Random(seed + number)

        async def takes(context) -> None:
            while True:
                context.set(port.ready, waits.random() < 0.5)
                _, _, valid, ready, data = await context.tick().sample(
                    port.valid, port.ready, port.payload.data
                )
                if valid and ready:
                    taken[number].append(data)

        return takes

    simulator = Simulator(router)
    simulator.add_clock(1e-8)
    for number in range(CLUSTERS):
        simulator.add_process(cluster(number))
    simulator.add_testbench(host)
    simulator.run()
    for number in range(CLUSTERS):
        assert taken[number] == [data for targets, data in writes if targets >> number & 1]


def test_router_brings_back_the_answer_of_the_cluster_that_was_asked() -> None:
    router = ClusterRouter(CLUSTERS)

    async def check(context) -> None:
        for number, port in enumerate(router.ports):
            context.set(port.response.payload, 100 + number)
            context.set(port.response.valid, 1)
        context.set(router.host.response.ready, 1)
        for number in range(CLUSTERS):
            context.set(router.targets, 1 << number)
            assert context.get(router.host.response.valid)
            assert context.get(router.host.response.payload) == 100 + number
            ready = [context.get(port.response.ready) for port in router.ports]
            assert ready == [index == number for index in range(CLUSTERS)]

    simulator = Simulator(router)
    simulator.add_testbench(check)
    simulator.run()


@pytest.mark.parametrize("clusters", [1, 2, 5])
def test_monitor_waits_for_the_slowest_and_tells_its_cycles(clusters: int) -> None:
    monitor = RunMonitor(clusters)
    lengths = [(7 * number) % 11 + 1 for number in range(clusters)]

    async def check(context) -> None:
        for _ in range(3):
            context.set(monitor.start, 1)
            await context.tick()
            context.set(monitor.start, 0)
            elapsed = 0
            while elapsed <= max(lengths) or context.get(monitor.state.busy):
                for number, length in enumerate(lengths):
                    state = monitor.clusters[number]
                    context.set(state.busy, elapsed < length)
                    context.set(state.cycles, length)
                    context.set(state.results, number)
                    context.set(state.overrun, number == clusters - 1)
                if elapsed < max(lengths):
                    assert context.get(monitor.state.busy), elapsed
                await context.tick()
                elapsed += 1
                assert elapsed < max(lengths) + 20
            assert context.get(monitor.state.cycles) == max(lengths)
            assert context.get(monitor.state.results) == clusters - 1
            assert context.get(monitor.state.overrun) == 1

    simulator = Simulator(monitor)
    simulator.add_clock(1e-8)
    simulator.add_testbench(check)
    simulator.run()
