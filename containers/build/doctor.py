"""What is wrong with CUDA in this environment: `docker run --rm IMAGE doctor [--json]`. Standard library only.

Exit code 0: what is installed runs here; 1: it would not, or would silently run on the CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from shared import cuda_driver, cuda_stack, cuda_verdict


def examined() -> cuda_verdict.Verdict:
    """The libraries installed here, held against the driver and the GPUs that are seen from here."""
    stack = cuda_stack.look(map(Path, sys.path), cuda_stack.system_libraries())
    try:
        driver = cuda_driver.driver_here()
    except (OSError, subprocess.SubprocessError) as exc:
        return _with_broken_driver(stack, cuda_driver.failure(exc))
    return cuda_verdict.judge(stack, driver, cuda_driver.sight(), is_container=cuda_verdict.is_container())


def _with_broken_driver(stack: cuda_stack.Stack, failure: str) -> cuda_verdict.Verdict:
    if not stack.cuda:
        return cuda_verdict.Verdict(
            "warning", f"{stack}: the cpu flavour; {failure}", "Put the driver right before a flavour for CUDA is used."
        )
    return cuda_verdict.Verdict("problem", f"{stack}, but {failure}", cuda_verdict.when_refused(cuda_verdict.is_container()))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="doctor", description="Say whether CUDA runs in this environment, and the fix.")
    parser.add_argument("--json", action="store_true", dest="as_json", help="Print JSON for programs.")
    asked, verdict = parser.parse_args(argv), examined()
    if asked.as_json:
        print(json.dumps(vars(verdict)))
    else:
        print(f"[{verdict.level}] {verdict.seen}" + (f"\n  fix: {verdict.fix}" if verdict.fix else ""))
    return 1 if verdict.level == "problem" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
