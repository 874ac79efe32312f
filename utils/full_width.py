"""Punctuation as an East Asian keyboard types it, which looks like that of code and is not."""

from __future__ import annotations

_OF_CODE = {
    **{chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)},  # U+FF01 to U+FF5E: ASCII, full-width
    "\u3000": " ", "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u3001": ",", "\u2265": ">=", "\u2264": "<=",
}  # fmt: skip


def as_ascii(text: str) -> str:
    """`text` with the characters that ASCII has in another width."""
    return "".join(_OF_CODE.get(letter, letter) for letter in text)


def hint(text: str) -> str:
    """What to write for the first such character in what could not be read, or ""."""
    found = next((letter for letter in text if letter in _OF_CODE), "")
    return f"; {found!r} (U+{ord(found):04X}) is no ASCII, write {_OF_CODE[found]!r}" if found else ""
