"""Letters and digits four lines high, of half blocks that a Linux console has: for a code that is typed off the screen."""

from __future__ import annotations

WIDTH, HEIGHT = 6, 4
"""Columns and lines of a letter, with the gap beside it."""
_LETTERS = {
    "A": "7e1111117e", "B": "7f49494936", "C": "3e41414122", "D": "7f4141413e", "E": "7f49494941", "F": "7f09090901",
    "G": "3e4149497a", "H": "7f0808087f", "I": "00417f4100", "J": "2040413f01", "K": "7f08142241", "L": "7f40404040",
    "M": "7f020c027f", "N": "7f0408107f", "O": "3e4141413e", "P": "7f09090906", "Q": "3e4151215e", "R": "7f09192946",
    "S": "4649494931", "T": "01017f0101", "U": "3f4040403f", "V": "1f2040201f", "W": "3f4038403f", "X": "6314081463",
    "Y": "0708700807", "Z": "6151494543", "0": "3e5149453e", "1": "00427f4000", "2": "4261514946", "3": "2141454b31",
    "4": "1814127f10", "5": "2745454539", "6": "3c4a494930", "7": "0171090503", "8": "3649494936", "9": "064949291e",
    "-": "0808080808", " ": "0000000000",
}  # fmt: skip
"""Five columns each, a byte a column, its lowest bit on top."""
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def big(text: str, width: int) -> str:
    """The text in large letters; as it is where one of them is not known, or the room is too small."""
    known = [_LETTERS.get(letter) for letter in text.upper()]
    if None in known or len(text) * WIDTH > width:
        return text
    columns = [column for letter in known if letter for column in (*bytes.fromhex(letter), 0)]
    return "\n".join("".join(_HALVES[_bit(c, row), _bit(c, row + 1)] for c in columns).rstrip() for row in range(0, 2 * HEIGHT, 2))


def _bit(column: int, row: int) -> bool:
    return bool(column >> row & 1)
