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

    def feed(self, piece: bytes, *, is_last: bool) -> list[Line]:
        """The records that are complete now.

        Raises:
            MalformedRequestError: it is neither form, or ends in the middle of a record, or one is endless.
        """
        if self._form is None:
            self._beginning += piece
            text = self._beginning.removeprefix(_BOM).lstrip()
            if not is_last and len(text) < len(_BOM):  # nothing yet, or half a byte order mark
                return []
            self._form = _Array() if text.startswith(b"[") else _Lines()
            piece, self._beginning = self._beginning.removeprefix(_BOM), b""
        return self._form.feed(piece, is_last=is_last)


class _Lines:
    def __init__(self) -> None:
        self._rest = b""
        self._number = 0

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
        self._decode_json = json.JSONDecoder().raw_decode
        self._text = ""
        self._number = 0
        self._step = _Step.OPENING

    def feed(self, piece: bytes, *, is_last: bool) -> list[Line]:
        try:
            self._text += self._decode_utf8(piece, is_last)
        except UnicodeDecodeError:
            raise MalformedRequestError("The body is not valid UTF-8.") from None
        lines: list[Line] = []
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
