"""What the runtime server tells those who watch it: metrics that Prometheus reads, and a log of requests without their words."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.containers.runtime.conftest import Served, chat, events, until

Start = Callable[..., Served]


def samples(served: Served) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every number of the page by name and labels, as Prometheus' own parser reads it."""
    from prometheus_client.parser import text_string_to_metric_families

    with served.client() as client:
        page = client.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(page.text))
    assert all(family.type in ("counter", "gauge", "histogram") and family.documentation for family in families)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def value(served: Served, name: str, **labels: str) -> float:
    return samples(served).get((name, tuple(sorted(labels.items()))), 0)


def test_metrics_count_requests_tokens_and_errors(served: Served) -> None:
    served.ask("say: one two", model="base:travel")
    list(events(served.ask("say: one", stream=True)))
    served.ask("say: a crash")
    served.ask("word " * 300)
    served.client().post("/v1/completions", json={"prompt": "count", "max_tokens": 5})
    served.client().get("/wp-login.php")
    served.client().get("/v1/models/base:travel")
    found = samples(served)

    def number(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    assert number("edge_requests_total", endpoint="/v1/chat/completions", status="200") == 2
    assert number("edge_requests_total", endpoint="/v1/chat/completions", status="400") == 1
    assert number("edge_requests_total", endpoint="/v1/chat/completions", status="500") == 1
    assert number("edge_requests_total", endpoint="/v1/completions", status="200") == 1
    assert number("edge_requests_total", endpoint="other", status="404") == 1
    assert number("edge_requests_total", endpoint="/v1/models", status="200") == 1
    assert number("edge_errors_total", code="generation_failed") == 1
    assert number("edge_errors_total", code="context_length_exceeded") == 1
    assert number("edge_generated_tokens_total") == 4 + 2 + 1 + 5
    assert number("edge_prompt_tokens_total") == 4 + 3 + 4 + 1
    assert number("edge_time_to_first_token_seconds_count") == 4
    assert number("edge_time_to_first_token_seconds_bucket", le="+Inf") == 4
    assert number("edge_request_seconds_sum") > 0
    assert number("process_resident_memory_bytes") > 1_000_000
    assert number("edge_model_info", provider="cpu", adapters="museum,travel", max_length="200") == 1


def test_a_histograms_buckets_grow(served: Served) -> None:
    for _ in range(3):
        served.ask("say: hi")
    buckets = [found for (name, _), found in samples(served).items() if name == "edge_time_to_first_token_seconds_bucket"]
    assert buckets == sorted(buckets) and buckets[-1] == 3


def test_metrics_show_who_runs_who_waits_and_what_memory_they_fill(start: Start, tmp_path) -> None:
    (tmp_path / "device.json").write_text(json.dumps({"format": 3, "kv_bytes_per_token": 1000}))
    served = start("--device-file", str(tmp_path / "device.json"), STUB_DELAY="0.1")
    until(served.is_ready)
    assert (value(served, "edge_ready"), value(served, "edge_requests_running"), value(served, "edge_kv_cache_bytes")) == (1, 0, 0)
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True)) as answer:
        words = answer.iter_lines()
        next(words)
        assert value(served, "edge_requests_running") == 1
        assert value(served, "edge_kv_cache_bytes") >= 2000
    until(lambda: value(served, "edge_requests_running") == 0)
    until(lambda: value(served, "edge_requests_total", endpoint="/v1/chat/completions", status="499") == 1)
    assert value(served, "edge_errors_total", code="client_gone") == 1
    assert value(served, "edge_kv_cache_bytes") == 0


def test_metrics_are_there_before_the_model(start: Start) -> None:
    served = start(STUB_LOAD_SECONDS="30")
    until(served.socket.exists)
    assert value(served, "edge_ready") == 0


def lines(served: Served, count: int = 1) -> list[dict]:
    """The log's lines, once there are so many: each is written after its client has got the answer."""
    until(lambda: len(_lines(served)) >= count)
    return _lines(served)


def _lines(served: Served) -> list[dict]:
    return [json.loads(line) for line in served.log.splitlines() if line.startswith("{")]


def test_each_request_is_a_line_without_its_words(served: Served) -> None:
    served.ask("say: swordfish", model="base:travel")
    served.client().get("/v1/models?secret=swordfish")
    answer, models = lines(served, 2)
    assert (answer["method"], answer["path"], answer["status"], answer["model"]) == ("POST", "/v1/chat/completions", 200, "base:travel")
    assert (answer["prompt_tokens"], answer["tokens"], answer["cached_tokens"]) == (3, 3, 0)
    assert answer["ms"] > 0 and answer["first_token_ms"] > 0
    assert models["path"] == "/v1/models" and "swordfish" not in served.log


def test_an_error_is_logged_by_its_code(served: Served) -> None:
    served.ask("say: hi", model="base:cooking")
    (line,) = lines(served)
    assert (line["status"], line["error"]) == (404, "model_not_found")


def test_a_path_cannot_break_out_of_its_line(served: Served) -> None:
    served.client().get("/a%0a%7b%22status%22:200%7d/" + "x" * 5000)
    (line,) = lines(served)
    assert line["path"].startswith('/a\n{"status":200}') and len(line["path"]) == 200


def test_those_who_only_watch_are_not_logged(served: Served) -> None:
    for path in ("/health", "/ready", "/metrics"):
        served.client().get(path)
    served.client().get("/last")
    assert [line["path"] for line in lines(served)] == ["/last"]


def test_the_log_can_be_turned_off(start: Start) -> None:
    served = start(EDGE_ACCESS_LOG="0")
    until(served.is_ready)
    served.ask("say: hi")
    assert served.stop() == 0
    assert _lines(served) == []


def test_prompts_are_logged_where_asked(start: Start) -> None:
    served = start(EDGE_LOG_PROMPTS="1")
    until(served.is_ready)
    list(events(served.ask("say: swordfish", stream=True)))
    (line,) = lines(served)
    assert line["prompt"] == [{"role": "user", "content": "say: swordfish"}] and line["answer"] == "swordfish "


def test_ready_says_what_is_served_and_on_what(served: Served) -> None:
    about = served.client().get("/ready").json()
    assert about == {"status": "ready", "provider": "cpu", "model": "base", "adapters": ["museum", "travel"], "max_length": 200}
