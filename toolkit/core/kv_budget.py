"""Which length of conversation a device has memory for, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.core.device import Device
from toolkit.core.footprint import Footprint

LEAST_TOKENS = 256
"""A shorter conversation is of no use: a question in its template, and an answer."""


@dataclass(frozen=True)
class MemoryFit:
    """What a device has memory for, beside what is asked of it."""

    device: str
    length: int
    """Tokens of a conversation, as wanted."""
    needed_mb: int
    """For that length."""
    least_mb: int
    """For the shortest conversation that is of use."""
    limit_mb: int
    """0: nobody said."""
    limit_name: str
    """How the device file calls it."""
    taken: int
    """Tokens that an image for this device takes."""

    @property
    def fits(self) -> bool:
        """Something of use fits, though perhaps not all that is wanted."""
        return self.taken >= min(LEAST_TOKENS, self.length)

    @property
    def is_whole(self) -> bool:
        """All that is wanted fits."""
        return self.taken == self.length

    @property
    def sentence(self) -> str:
        if not self.limit_mb:
            return f"{self.device}: {self.length} tokens need {self.needed_mb} MB of the GPU; its device file says no {self.limit_name}."
        if self.is_whole:
            return f"{self.device}: {self.length} tokens need {self.needed_mb} MB of its {self.limit_mb} MB."
        message = f"{self.device}: does not fit: {self.length} tokens need {self.needed_mb} MB, the device has {self.limit_mb} MB"
        return f"{message}; {self.way_out}"

    @property
    def way_out(self) -> str:
        if self.fits:
            return f"conversations will end at {self.taken}. {self.limit_name} = {self.needed_mb} would do for all."
        least = f" for {LEAST_TOKENS} tokens, {self.limit_name} = {self.needed_mb} for {self.length}" if self.length > LEAST_TOKENS else ""
        return f"{self.limit_name} = {self.least_mb} would do{least}."


def memory_limit(device: Device, memory_mb: int = 0) -> tuple[int, str]:
    """What limits the model on a device, and how its file calls that: on a GPU the GPU's own memory, elsewhere the container's."""
    return (memory_mb or device.memory_mb, "memory_mb") if device.provider == "cpu" else (device.gpu_memory_mb, "gpu_memory_mb")


def memory_fit(device: Device, footprint: Footprint, length: int, memory_mb: int = 0) -> MemoryFit:
    """What of `length` fits; `memory_mb` is a container's limit other than the device's."""
    limit, name = memory_limit(device, memory_mb)
    taken = min(length, footprint.longest(limit)) if limit else length
    least = footprint.needed_mb(min(LEAST_TOKENS, length))
    return MemoryFit(device.name, length, footprint.needed_mb(length), least, limit, name, taken)
