"""A stream of bytes into the records of an import: newline-delimited JSON, or one JSON array of any length.

What is held is one record at most, however long the stream is.
"""

import codecs
import json
from enum import Enum, auto
from typing import Final, NamedTuple

from shared.contracts.usage import MAX_LOG_BODY_BYTES
from shared.errors import MalformedRequestError

_MOST_HELD: Final = 2 * MAX_LOG_BODY_BYTES
_GROWTH: Final = 4
"""A record that is not whole is looked at again when it has grown by a quarter: pieces may be bytes."""
_SPACE: Final = " \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One record, still to be read.

    Attributes:
        number: of its line, or its place in the array, from 1.
        body: its JSON as it was sent.
    """

    number: int
    body: bytes


class Splitter:
    """Takes a stream piece by piece, in either form: an array begins with `[`."""

    def __init__(self) -> None:
        self._form: _Lines | _Array | None = None
        self._beginning = b""
        self._is_first = True
        self._blank_lines = 0

    def feed(self, piece: bytes, *, is_last: bool) -> list[Line]:
        """The records that are complete now.

        Raises:
            MalformedRequestError: it is neither form, or ends in the middle of a record, or one is endless.
        """
        if self._form is None:
            self._beginning += piece
            if self._is_first:
                if len(self._beginning) < len(_BOM) and not is_last:
                    return []
                self._beginning = self._beginning.removeprefix(_BOM)
                self._is_first = False
            begun = self._beginning.lstrip()
            self._blank_lines += self._beginning[: len(self._beginning) - len(begun)].count(b"\n")
            self._beginning = begun
            if not begun and not is_last:
                return []
            self._form = _Array() if begun.startswith(b"[") else _Lines(self._blank_lines)
            piece, self._beginning = begun, b""
        return self._form.feed(piece, is_last=is_last)


class _Lines:
    def __init__(self, passed: int) -> None:
        self._rest = b""
        self._number = passed

    def feed(self, piece: bytes, *, is_last: bool) -> list[Line]:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        if is_last:
            whole.append(self._rest)
            self._rest = b""
        elif len(self._rest) > _MOST_HELD:
            raise _endless(self._number + len(whole) + 1)
        lines = []
        for text in whole:
            self._number += 1
            if text and not text.isspace():
                lines.append(Line(self._number, text))
        return lines


class _Step(Enum):
    OPENING = auto()
    FIRST = auto()
    RECORD = auto()
    COMMA = auto()
    ENDED = auto()


class _Array:
    """Finds where each element ends by decoding it; whether it is a good record is seen later."""

    def __init__(self) -> None:
        self._decode_utf8 = codecs.getincrementaldecoder("utf-8")().decode
        # Numbers are not made here: Python refuses those of thousands of digits.
        self._decode_json = json.JSONDecoder(parse_int=len, parse_float=len).raw_decode
        self._text = ""
        self._number = 0
        self._again_at = 0
        self._step = _Step.OPENING

    def feed(self, piece: bytes, *, is_last: bool) -> list[Line]:
        try:
            self._text += self._decode_utf8(piece, is_last)
        except UnicodeDecodeError:
            raise MalformedRequestError("The body is not valid UTF-8.") from None
        lines: list[Line] = []
        if len(self._text) < self._again_at and not is_last:
            return lines
        at = self._pass_space(0)
        while at < len(self._text):
            end = self._find_end(at, is_last=is_last)
            if end is None:
                break
            if self._step is _Step.COMMA:  # it was a record
                self._number += 1
                lines.append(Line(self._number, self._text[at:end].encode("utf-8", "surrogatepass")))
            at = self._pass_space(end)
        self._text = self._text[at:]
        self._again_at = len(self._text) + len(self._text) // _GROWTH
        if is_last and self._step is not _Step.ENDED:
            raise MalformedRequestError(f"The array has no end; its last whole record is {self._number}.")
        if len(self._text) > _MOST_HELD:
            raise _endless(self._number + 1)
        return lines

    def _find_end(self, at: int, *, is_last: bool) -> int | None:
        """Where the next mark or record ends, and what has to follow; None where it is not whole yet."""
        mark = self._text[at]
        match self._step, mark:
            case (_Step.OPENING, "["):
                self._step = _Step.FIRST
            case (_Step.FIRST | _Step.COMMA, "]"):
                self._step = _Step.ENDED
            case (_Step.COMMA, ","):
                self._step = _Step.RECORD
            case (_Step.FIRST | _Step.RECORD, _):
                end = self._find_end_of_record(at, is_last=is_last)
                if end is not None:
                    self._step = _Step.COMMA
                return end
            case _:
                raise MalformedRequestError(f"After record {self._number} the array is not JSON.")
        return at + 1

    def _find_end_of_record(self, at: int, *, is_last: bool) -> int | None:
        try:
            _, end = self._decode_json(self._text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            if is_last or isinstance(error, RecursionError):
                raise MalformedRequestError(f"Record {self._number + 1} of the array is not JSON.") from None
            return None
        return None if end == len(self._text) and not is_last else end  # a number may go on

    def _pass_space(self, at: int) -> int:
        while at < len(self._text) and self._text[at] in _SPACE:
            at += 1
        return at


def _endless(number: int) -> MalformedRequestError:
    return MalformedRequestError(f"Record {number} is not JSON, or is larger than {_MOST_HELD} bytes.")
