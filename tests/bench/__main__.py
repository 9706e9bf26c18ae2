"""`python -m tests.bench [SECTION...]`: measure, print, and write the sections into BENCHMARKS.md."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.bench import report
from tests.bench.measure import ROOT, Options, Skipped

SECTIONS = {
    "front_end": "Start of the command line",
    "tui": "The terminal UI",
    "following": "Following a run of a million events",
    "log_pane": "The log pane with a million lines",
    "chat": "Chat as it streams",
    "overhead": "The toolkit around a build",
    "rerun": "A recipe run again unchanged",
    "push": "Pushing again after retraining one adapter",
    "direct_push": "A large image straight to a registry",
    "register": "Registering a model in Azure ML",
    "packing": "Packaging",
    "serving": "The model's server",
    "llama_cpp": "Beside llama.cpp's server",
    "comparison": "Quantizers side by side",
    "demo": "`edge demo`",
}
"""Module -> title. `demo` takes as long as the demo does and runs only when it is named."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure and write BENCHMARKS.md.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of: {', '.join(SECTIONS)}; default: all but demo")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--home", type=Path, help="rerun: an existing home to run the recipe in")
    parser.add_argument("--recipe", type=Path, help="rerun, demo: another recipe")
    parser.add_argument("--engine", choices=("local", "docker"), default="local", help="rerun, demo: who builds")
    parser.add_argument("--dry", action="store_true", help="print only; leave BENCHMARKS.md as it is")
    asked = parser.parse_args()
    unknown = [name for name in asked.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no section '{unknown[0]}'; there are: {', '.join(SECTIONS)}")
    names = asked.sections or [name for name in SECTIONS if name != "demo"]
    return max([_section(name, asked) for name in names])


def _section(name: str, asked: argparse.Namespace) -> int:
    """Measure one section; 1 where a goal was missed or it broke, so that the others still get their turn."""
    print(f"== {SECTIONS[name]}", file=sys.stderr, flush=True)
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as work:
        options = Options(Path(work), asked.repeat, _absolute(asked.home), _absolute(asked.recipe), asked.engine)
        try:
            findings = importlib.import_module(f"tests.bench.{name}").measure(options)
        except Skipped as reason:
            print(f"not measured: {reason}", file=sys.stderr)
            return 0
        except Exception:
            traceback.print_exc()
            return 1
    text = report.block(SECTIONS[name], findings, load, time.monotonic() - began)
    print(text + "\n", flush=True)
    if not asked.dry:
        report.insert(ROOT / "BENCHMARKS.md", name, text)
    return int(any(finding.is_met is False for finding in findings))


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path else None


if __name__ == "__main__":
    sys.exit(main())
