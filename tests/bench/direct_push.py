"""A large image that does not compress, into a registry on loopback: beside `docker push`, and after cuts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.bench.counting_proxy import CountingProxy
from tests.bench.measure import Finding, Options, Skipped, run_child
from tests.bench.synthetic import engine_and_base
from tests.layouts import packed
from tests.services.fixtures import Registry, free_port, state
from toolkit.core import oci_layout
from toolkit.core.engine import LABEL, Credentials
from toolkit.core.layers import Layer, LayerFile
from toolkit.core.oci_layout import Layout
from toolkit.docker_engine import DockerEngine

MODEL_BYTES = 2_500_000_000
TAG = "edge-toolkit/bench-direct:1"
TIMES, READ_SHARE, MEMORY, MOVES_AGAIN = 4, 0.6, 200e6, 0.15
SMALL, SECONDS = 20_000, 3
CUT_AT = 0.9


class Sink(BaseHTTPRequestHandler):
    """A registry that counts bytes and lets them go: what we send at most."""

    protocol_version = "HTTP/1.1"
    room = bytearray(1 << 20)

    def do_HEAD(self) -> None:
        self._says(404)

    def do_POST(self) -> None:
        self._says(202)

    def do_PATCH(self) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            left -= self.rfile.readinto(memoryview(self.room)[: min(left, len(self.room))])
        self._says(201 if self.command == "PUT" else 202)

    do_PUT, do_DELETE, do_GET = do_PATCH, do_POST, do_POST

    def _says(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Location", "/v2/bench/blobs/uploads/1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@dataclass
class Place:
    layout: Layout
    folder: Path

    @contextmanager
    def registry(self) -> Iterator[tuple[Registry, CountingProxy]]:
        """A fresh one; what it holds goes with it."""
        registry = Registry(self.folder / "registry", free_port())
        registry.start()
        proxy = CountingProxy(("127.0.0.1", registry.port))
        try:
            yield registry, proxy
        finally:
            proxy.shutdown()
            proxy.server_close()
            registry.kill()
            subprocess.run(["rm", "-rf", str(registry.folder)], check=True)

    def child(self, registry: Registry, address: str) -> tuple[list[str], dict[str, str]]:
        argv = [sys.executable, "-m", "tests.bench.pusher", str(self.layout.folder), f"{address}/bench:1", registry.user, str(self.folder)]
        return argv, {**os.environ, "BENCH_PASSWORD": registry.password}

    def forget_cached(self) -> None:
        """The layer comes from the disk, not from memory."""
        with open(self.model, "rb") as blob:
            os.fsync(blob.fileno())
            os.posix_fadvise(blob.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def model(self) -> Path:
        return self.layout.blob(self.layout.layers[-1].digest)


def measure(options: Options) -> list[Finding]:
    if state().get("registry") != "yes":
        raise Skipped("there is no docker-registry; tests/services/up.sh installs it")
    engine, base = engine_and_base()
    try:
        place = Place(_image(options.work, engine, base), options.work)
        read = _read_seconds(place)
        by_engine = _engine_push(place, engine)
        engine.untag(TAG)
        bare = _bare_put(place)
        sink = _into_sink(place)
        return [*_direct(place, read, by_engine, bare, sink), _cut(place), _killed(place)]
    finally:
        engine.untag(TAG)


def _image(work: Path, engine: DockerEngine, base) -> Layout:
    weights, folder = work / "weights", work / "runs" / "1" / "image"
    with open(weights, "wb") as out:
        for _ in range(MODEL_BYTES // 10_000_000):
            out.write(os.urandom(10_000_000))
    packed(folder, engine, base, [Layer("model", (LayerFile(weights, "/model/weights"),))], {f"{LABEL}.kind": "image"}, TAG)
    weights.unlink()
    return oci_layout.read(folder)


def _read_seconds(place: Place) -> float:
    place.forget_cached()
    began = time.monotonic()
    with open(place.model, "rb", buffering=0) as blob:
        while blob.read(8 << 20):
            pass
    return time.monotonic() - began


def _engine_push(place: Place, engine: DockerEngine) -> float:
    with place.registry() as (registry, _):
        name, began = f"{registry.address}/bench:1", time.monotonic()
        engine.tag(TAG, name)
        try:
            list(engine.push(name, Credentials(registry.user, registry.password)))
        finally:
            engine.untag(name)
        return time.monotonic() - began


def _bare_put(place: Place) -> float:
    """What the registry takes at most: the one layer in one request by curl, in seconds."""
    import httpx

    place.forget_cached()
    with place.registry() as (registry, _):
        began, who = time.monotonic(), (registry.user, registry.password)
        where = httpx.post(f"http://{registry.address}/v2/bare/blobs/uploads/", auth=who).headers["location"]
        url = f"{where}&digest=sha256:{place.model.name}"
        subprocess.run(["curl", "-sf", "-o", os.devnull, "-u", ":".join(who), "-X", "PUT", "-T", str(place.model), url], check=True)
        return time.monotonic() - began


def _into_sink(place: Place) -> float:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place.forget_cached()
    try:
        registry = Registry(place.folder / "none", 0)
        return run_child(*place.child(registry, f"127.0.0.1:{server.server_address[1]}")).seconds
    finally:
        server.shutdown()
        server.server_close()


def _direct(place: Place, read: float, by_engine: float, bare: float, sink: float) -> list[Finding]:
    size = place.layout.bytes
    rate = {"read": MODEL_BYTES / read, "docker push": size / by_engine, "curl": MODEL_BYTES / bare}
    with place.registry() as (registry, proxy):
        place.forget_cached()
        argv, environ = place.child(registry, registry.address)
        ended = run_child(argv, environ)
        direct = size / ended.seconds
        argv, environ = place.child(registry, proxy.address)
        again = run_child(argv, environ)
    told = ", ".join(f"{name} {value / 1e6:.0f} MB/s" for name, value in {**rate, "direct": direct}.items())
    times, share = direct / rate["docker push"], direct / rate["read"]
    return [
        Finding("Beside `docker push` of the same image", f"{times:.1f} times as fast", f"{TIMES} times", times >= TIMES, told),
        Finding("Beside reading the layer from the disk", f"{share:.0%} of its speed", f"{READ_SHARE:.0%}", share >= READ_SHARE),
        Finding(
            "Beside `curl` putting the layer in one request", f"{direct / rate['curl']:.0%} of its speed", how="what this registry takes"
        ),
        Finding(
            "Into a registry that only counts bytes",
            f"{place.layout.bytes / sink / 1e6:.0f} MB/s, {read / sink:.0%} of the disk's",
            how="what we send at most; with the start of Python",
        ),
        Finding("Memory at most", f"{ended.peak_bytes / 1e6:.0f} MB", f"{MEMORY / 1e6:.0f} MB", ended.peak_bytes <= MEMORY),
        Finding(
            "Pushed again unchanged",
            f"{proxy.sent:,} bytes sent, {again.seconds:.1f} s with the start of Python",
            f"{SMALL:,} bytes, {SECONDS} s",
            proxy.sent <= SMALL and again.seconds <= SECONDS,
        ),
    ]


def _cut(place: Place) -> Finding:
    """The connection that carries the layer ends inside a piece; others live on, as behind a gateway."""
    with place.registry() as (registry, proxy):
        proxy.cut_at = int(CUT_AT * MODEL_BYTES)
        argv, environ = place.child(registry, proxy.address)
        run_child(argv, environ)
        return _again("A connection cut at 90 %, inside a piece: bytes that move again", proxy, place)


def _killed(place: Place) -> Finding:
    """The pushing process is killed wherever it is; another one goes on."""
    with place.registry() as (registry, proxy):
        argv, environ = place.child(registry, proxy.address)
        child = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True)
        for line in child.stdout:
            if int(line) >= CUT_AT * MODEL_BYTES:
                break
        child.kill()
        child.wait()
        run_child(argv, environ)
        return _again("Killed with -9 at 90 %, then pushed again: bytes that move again", proxy, place)


def _again(what: str, proxy: CountingProxy, place: Place) -> Finding:
    moved = max(0, proxy.sent - place.layout.bytes)
    share = moved / place.layout.bytes
    told = f"{moved / 1e6:.0f} MB, {share:.0%}"
    return Finding(what, told, f"{MOVES_AGAIN:.0%}", share <= MOVES_AGAIN, how="docker-registry 2.8.2")
