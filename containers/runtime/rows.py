"""Key-value caches in the memory of this process: one row for each generation that may run, in tensors that a batch takes a part of.

Memory is taken by the page when a token is written, and given back when a row is cut: a row costs what it holds.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

import ort

PAGE = mmap.PAGESIZE


class Rows:
    """`count` rows of up to `length` tokens, in one tensor [count, heads, length, size] for each of the graph's past inputs."""

    def __init__(self, ports: dict[str, ort.Port], count: int, length: int) -> None:
        self.count, self.length = count, length
        self._blocks = [_Block(name, port, count, length) for name, port in ports.items()]
        self._windows: dict[tuple[int, int], list[ort.Tensor]] = {}

    @property
    def bytes_per_token(self) -> int:
        return sum(block.heads * block.token_bytes for block in self._blocks)

    def window(self, first: int, count: int) -> list[ort.Tensor]:
        """`count` rows from `first`, as one tensor for each input, in the inputs' order."""
        if (first, count) not in self._windows:
            self._windows[first, count] = [block.tensor(first, count) for block in self._blocks]
        return self._windows[first, count]

    def swap(self, one: int, other: int, tokens: int) -> None:
        """Exchange what two rows hold in their first `tokens` tokens."""
        for block in self._blocks:
            block.swap(one, other, tokens)

    def cut(self, row: int, tokens: int) -> None:
        """Give back the memory of what a row holds beyond its first `tokens`."""
        for block in self._blocks:
            block.cut(row, tokens)


class _Block:
    """The rows of one past input."""

    def __init__(self, name: str, port: ort.Port, count: int, length: int) -> None:
        _, self.heads, _, size = port.shape
        self._kind, self._size, self._length = port.kind, size, length
        self.token_bytes = size * ort.ITEM_SIZES[port.kind]
        self._row_bytes = self.heads * length * self.token_bytes
        self._memory = mmap.mmap(-1, count * self._row_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def tensor(self, first: int, count: int) -> ort.Tensor:
        return ort.Tensor(self._address + first * self._row_bytes, [count, self.heads, self._length, self._size], self._kind)

    def swap(self, one: int, other: int, tokens: int) -> None:
        part = tokens * self.token_bytes
        aside = ctypes.create_string_buffer(part)
        for head in range(self.heads):
            offset = self._address + head * self._length * self.token_bytes
            first, second = offset + one * self._row_bytes, offset + other * self._row_bytes
            ctypes.memmove(aside, first, part)
            ctypes.memmove(first, second, part)
            ctypes.memmove(second, aside, part)

    def cut(self, row: int, tokens: int) -> None:
        head_bytes = self._length * self.token_bytes
        for head in range(self.heads):
            start = row * self._row_bytes + head * head_bytes
            first = -(-(start + tokens * self.token_bytes) // PAGE) * PAGE  # pages shared with a neighbour stay
            end = (start + head_bytes) // PAGE * PAGE
            if end > first:
                self._memory.madvise(mmap.MADV_DONTNEED, first, end - first)


def best_window(wanted: Sequence[int], count: int, total: int) -> int:
    """First row of the window of `count` rows, of `total`, that holds most of those wanted."""
    return max(range(total - count + 1), key=lambda first: sum(first <= row < first + count for row in wanted))
