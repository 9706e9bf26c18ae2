"""What rows of key-value caches hold and cost: `rows_facts.py`; prints it as JSON. Needs ONNX Runtime's library, no model."""

from __future__ import annotations

import ctypes
import json

import ort
from rows import PAGE, Rows

HEADS, SIZE, LENGTH = 3, 64, 1024
TOKEN_BYTES = 4 * SIZE
libc = ctypes.CDLL(None, use_errno=True)


class Watched:
    """Two rows whose memory is looked at from outside."""

    def __init__(self) -> None:
        self.rows = Rows({"past.key": ort.Port(ort.FLOAT, [1, HEADS, LENGTH, SIZE])}, 2, LENGTH)
        [block] = self.rows._blocks
        self.address = block._address

    def place(self, row: int, head: int, token: int) -> int:
        return self.address + ((row * HEADS + head) * LENGTH + token) * TOKEN_BYTES

    def write(self, row: int, tokens: int, value: int) -> None:
        for head in range(HEADS):
            ctypes.memset(self.place(row, head, 0), value, tokens * TOKEN_BYTES)

    def seen(self, row: int, token: int) -> list[int]:
        return [ctypes.string_at(self.place(row, head, token), 1)[0] for head in range(HEADS)]

    def pages(self) -> int:
        """Pages that are in memory, as the kernel counts them."""
        total = 2 * HEADS * LENGTH * TOKEN_BYTES
        found = (ctypes.c_ubyte * (total // PAGE))()
        assert libc.mincore(ctypes.c_void_p(self.address), ctypes.c_size_t(total), found) == 0
        return sum(page & 1 for page in found)


def costs() -> dict:
    watched = Watched()
    found = {"a page holds": PAGE // TOKEN_BYTES, "heads": HEADS, "fresh": watched.pages()}
    watched.write(0, 512, 7)
    found["full"] = watched.pages()
    watched.rows.cut(0, 128)
    return found | {"cut": watched.pages(), "kept": watched.seen(0, 127), "gone": watched.seen(0, 128)}


def neighbours() -> dict:
    watched = Watched()
    watched.write(0, 100, 7)
    watched.write(1, 300, 9)
    watched.rows.cut(0, 33)
    found = {"own": watched.seen(0, 32), "other": watched.seen(1, 299)}
    watched.write(0, 100, 7)
    watched.rows.swap(0, 1, 300)
    watched.rows.cut(1, 100)
    return found | {"swapped": [*watched.seen(0, 299), *watched.seen(1, 99)], "not more": watched.seen(1, 299)}


print(json.dumps({"costs": costs(), "neighbours": neighbours()}))
