"""Training in several processes of this machine, one for each GPU: started here, joined through accelerate.

    python -m passes.training_processes JOB_FILE      one of them, told by the environment which one it is

Each works on its share of a step's rows; gradients are summed before the optimizer moves, so that the number of processes
changes nothing but the order in which floats are summed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from step_io import EXPECTED_FAILURE, StepError

from passes.training_job import Job

BUILD_FOLDER = Path(__file__).resolve().parents[1]
SECONDS_BETWEEN_LOOKS = 0.1
SEE_THE_LOG = "The whole story is in the step's log."


@dataclass(frozen=True)
class Share:
    """This process's part in the training."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """True for the one process that tells events and writes files."""
        return self.rank == 0

    def add_up(self, tensor: torch.Tensor) -> None:
        """Sum a tensor over all processes, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)

    def agree_on(self, tensors: list[torch.Tensor]) -> None:
        """Take the first process's values, in place."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor.data, 0)


def wanted_processes(job: Job) -> int:
    """One for each GPU, but never more than a step has rows."""
    wanted = job.place.processes or (torch.cuda.device_count() if torch.cuda.is_available() else 1)
    return max(1, min(wanted, job.training.step_rows, len(job.rows)))


def alone() -> Share:
    """All work in this process."""
    return Share(torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))


def joined() -> Share:
    """This process's share, as the environment says."""
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return Share(state.device, state.process_index, state.num_processes)


def run_together(job: Job, count: int) -> None:
    """Train in `count` processes and wait for them.

    Raises:
        StepError: what the first process that failed said; the others are ended.
    """
    scratch = Path(job.place.scratch)
    for old in scratch.glob("error-*.json"):
        old.unlink()
    job.save(scratch / "job.json")
    command = [sys.executable, "-m", "passes.training_processes", str(scratch / "job.json")]
    port = _free_port()
    running = [subprocess.Popen(command, env=_environment(rank, count, port), cwd=BUILD_FOLDER) for rank in range(count)]
    try:
        failed = _first_failure(running)
    finally:
        for process in running:
            process.kill()
            process.wait()
    if failed is not None:
        raise _what_it_said(scratch, failed, running[failed].returncode)


def _first_failure(running: list[subprocess.Popen]) -> int | None:
    """The number of the first process that ended badly; None once all ended well."""
    while True:
        codes = [process.poll() for process in running]
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed:
            return min(failed, key=lambda rank: codes[rank] != EXPECTED_FAILURE)
        if all(code == 0 for code in codes):
            return None
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _what_it_said(scratch: Path, rank: int, code: int) -> StepError:
    try:
        said = json.loads((scratch / f"error-{rank}.json").read_text(encoding="utf-8"))
        return StepError(said["error"], said["hint"])
    except (OSError, ValueError, KeyError):
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        return StepError(
            f"Training process {rank} {how}.", "The step's log has its last words. `edge resume` goes on from the last checkpoint."
        )


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    threads = str(max(1, (os.cpu_count() or 1) // count))
    paths = [str(BUILD_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": os.pathsep.join(paths),
    }  # fmt: skip
    return {"OMP_NUM_THREADS": threads, **os.environ, **{name: str(value) for name, value in own.items()}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    from passes.training_loop import train

    job = Job.load(Path(sys.argv[1]))
    share = joined()
    try:
        train(job, share)
    except (StepError, RuntimeError) as error:  # torch's own errors are RuntimeErrors, such as of a GPU that went away
        traceback.print_exc()
        said = json.dumps({"error": str(error), "hint": getattr(error, "hint", "") or SEE_THE_LOG})
        Path(job.place.scratch, f"error-{share.rank}.json").write_text(said, encoding="utf-8")
        sys.stdout.flush()
        os._exit(EXPECTED_FAILURE)  # the others may wait for us in a sum: leaving politely would wait for them
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
