"""What the server counts, as Prometheus reads it at /metrics."""

from __future__ import annotations

import time

from memory import resident_bytes
from prometheus import Counter, Histogram, gauge, page
from record import Record
from turns import Turns

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TOKENS_PER_SECOND = (1, 2, 5, 10, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)


class Metrics:
    """Counts each request once, when it has ended."""

    def __init__(self, endpoints: frozenset[str]):
        self._endpoints = endpoints
        self._records: dict[int, Record] = {}
        self._started_at = time.time()
        self._requests = Counter("edge_requests_total", "Requests by endpoint and status; 499: the client left.", ("endpoint", "status"))
        self._errors = Counter("edge_errors_total", "Errors by their code.", ("code",))
        self._prompt = Counter("edge_prompt_tokens_total", "Prompt tokens of answered requests.")
        self._cached = Counter("edge_prompt_tokens_cached_total", "Prompt tokens that were not taken in again.")
        self._generated = Counter("edge_generated_tokens_total", "Tokens generated.")
        self._first_token = Histogram("edge_time_to_first_token_seconds", "From the request to its first token.", SECONDS)
        self._queued = Histogram("edge_queue_seconds", "Waited for other requests before its turn.", SECONDS)
        self._seconds = Histogram("edge_request_seconds", "From the request to the end of its answer.", SECONDS)
        self._speed = Histogram("edge_tokens_per_second", "Tokens after the first, by request.", TOKENS_PER_SECOND)

    def begins(self, record: Record) -> None:
        self._records[id(record)] = record

    def ended(self, record: Record) -> None:
        self._records.pop(id(record), None)
        self._requests.add(1, self._endpoint(record.path), str(record.status))
        if record.error:
            self._errors.add(1, record.error)
        timing = record.timing
        if timing is None or timing.started_at == 0:
            return
        self._seconds.observe(time.perf_counter() - timing.asked_at)
        self._queued.observe(timing.started_at - timing.asked_at)
        if timing.tokens:
            self._count_answer(record)

    def _endpoint(self, path: str) -> str:
        """One of a few names, whatever clients think up."""
        known = "/v1/models" if path.startswith("/v1/models/") else path
        return known if known in self._endpoints else "other"

    def _count_answer(self, record: Record) -> None:
        timing = record.timing
        assert timing
        self._prompt.add(record.prompt_tokens)
        self._cached.add(timing.cached_tokens)
        self._generated.add(timing.tokens)
        self._first_token.observe(timing.first_token_at - timing.asked_at)
        decoding = timing.last_token_at - timing.first_token_at
        if timing.tokens > 1 and decoding > 0:
            self._speed.observe((timing.tokens - 1) / decoding)

    @property
    def usual_seconds(self) -> float:
        """What a request takes on average; 0 before the first."""
        return self._seconds.mean

    def text(self, turns: Turns) -> str:
        """The page as it is now."""
        is_ready = turns.is_ready
        families = [
            gauge("edge_ready", "1 once the model is loaded and warmed up.", int(is_ready)),
            gauge("edge_requests_running", "Requests being answered.", turns.running),
            gauge("edge_requests_waiting", "Requests that wait for their turn.", turns.waiting),
            gauge("process_resident_memory_bytes", "Memory of this process in RAM.", resident_bytes()),
            gauge("process_start_time_seconds", "When this process began, since the epoch.", self._started_at),
        ]
        if is_ready:
            families += self._of_the_model(turns)
        counted = (self._requests, self._errors, self._prompt, self._cached, self._generated)
        measured = (self._first_token, self._queued, self._seconds, self._speed)
        return page(*families, *(family.lines() for family in (*counted, *measured)))

    def _of_the_model(self, turns: Turns) -> list:
        model = turns.model
        about = {"provider": model.provider, "adapters": ",".join(model.adapters), "max_length": str(model.max_length)}
        families = [gauge("edge_model_info", "The model that is served; always 1.", 1, about)]
        if model.kv_bytes_per_token:
            held = sum(record.prompt_tokens + record.tokens for record in self._records.values())
            help = "Memory of the key-value cache that the requests being answered fill."
            families.append(gauge("edge_kv_cache_bytes", help, held * model.kv_bytes_per_token))
        return families
