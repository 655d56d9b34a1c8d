"""What tells a retry from another record stays the same from release to release."""

from uuid import UUID

from shared.intake.parse import parse_log
from shared.intake.usage import digest_of

FULL = (
    b'{"model":"openai:gpt-4o","input_tokens":3,"cost":1.50,"metadata":{"b":1,"a":[null]},'
    b'"timestamp":"2031-05-03T12:00:00+02:00","origin":"web"}'
)
BARE = b'{"provider":"a","model":"b"}'


def test_the_digest_of_a_record_is_what_it_was_before_records_named_reservations() -> None:
    assert digest_of(parse_log(FULL)).hex() == (
        "7343bc36148145f547585125ac95874041165c7d221afbf93067e0a24c1970ef"
    )
    assert digest_of(parse_log(BARE)).hex() == (
        "67b85778d3e691ae0bc34b3ce222c2ddc4644b16ec60b73bbb0127aa437eb743"
    )


def test_a_record_that_names_a_reservation_is_another_one() -> None:
    digests = {
        digest_of(parse_log(BARE[:-1] + b',"reservation_id":' + name + b"}"))
        for name in (b"null", *(f'"{UUID(int=number)}"'.encode() for number in range(2)))
    }
    assert len(digests) == 3
    assert digest_of(parse_log(BARE)) in digests
