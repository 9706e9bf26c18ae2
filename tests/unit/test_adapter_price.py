"""What an adapter costs is said as it was measured: speed where it is switchable, room where it is merged."""

from __future__ import annotations

from types import SimpleNamespace

from toolkit.core.adapter_price import prices


def evaluated(fitted: str, graph: float, adapter: float, **of_graph: float) -> list[str]:
    steps = [
        {
            "name": "evaluate-cpu-one",
            "kind": "evaluate",
            "options": {"device": "cpu", "adapter": "one"},
            "inputs": {fitted: {"step": "made"}},
        }
    ]
    metrics = {"tokens_per_second.graph": graph, "tokens_per_second.adapter": adapter}
    done = {"evaluate-cpu-one": SimpleNamespace(metrics=metrics), "made": SimpleNamespace(metrics=of_graph)}
    state = SimpleNamespace(steps=done, artifacts=[SimpleNamespace(step="made", bytes=23_000_000)])
    return list(map(str, prices(steps, state)))


def test_a_switchable_adapter_costs_the_measured_share_of_the_speed():
    assert evaluated("adapter", 100.0, 82.0) == ["one on cpu: switchable, costs 18% of the decoding speed and 23.0 MB"]


def test_an_adapter_that_was_measured_faster_than_the_base_costs_nothing():
    assert "costs 0%" in evaluated("adapter", 100.0, 103.0)[0]


def test_a_merged_adapter_costs_the_room_of_what_its_graph_does_not_share():
    told = evaluated("merged", 100.0, 99.0, **{"graph.own_bytes": 68_000_000})
    assert told == ["one on cpu: merged, costs no decoding speed (measured at 99% of the base's); its own graph takes 68.0 MB"]


def test_what_was_not_evaluated_yet_has_no_price():
    assert prices([{"name": "x", "kind": "evaluate", "options": {}, "inputs": {}}], SimpleNamespace(steps={}, artifacts=[])) == []
