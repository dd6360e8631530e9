"""Personal data is found by its form and its check digits, and what only looks like it stays."""

from __future__ import annotations

import pytest

from bezel.safety.content import searched
from bezel.safety.personal import luhn, personal_rules
from bezel.safety.settings import KINDS, PolicySettings

# Numbers for tests that banks, SWIFT's registry, RFC 5737, RFC 3849 and the numbering plans publish; nobody has them.
FOUND = {
    "email": ["jane.doe+x@mail.example.co.uk", "o'neil@example.org", "jürgen@müller.example", "a_b@example.museum"],
    "phone": ["+1 (212) 555-0123", "+44 20 7946 0018", "+4930901820", "(212) 555-0123", "212-555-0123", "212.555.0123",
              "030 23125 123", "(030) 23125-123", "0171/3920000", "+33 1 99 00 12 34"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO93 8601 1117 947",
             "fr14 2004 1010 0505 0001 3M02 606", "MT84 MALT 0110 0001 2345 MTLC AST0 01S"],
    "card": ["4111 1111 1111 1111", "378282246310005", "3782 822463 10005", "5555-5555-5555-4444", "6011000990139424",
             "4222222222222"],
    "ip": ["192.0.2.17", "203.0.113.255", "2001:db8::8a2e:370:7334", "2001:0db8:0000:0000:0000:8a2e:0370:7334",
           "::ffff:192.0.2.1"],
    "ssn": ["219-09-9999", "078 05 1120"],
}  # fmt: skip
STAYS = {
    "email": ["jane at example", "@example.org", "a@b", "x @ example.org", "price@", "f(a@b)"],
    "phone": ["2024-01-15", "15.01.2024 10:30", "1234567", "3.14159265358979", "0.123456789", "call 911", "1,000,000",
              "x0171/3920000", "+12"],
    "iban": ["DE88 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130", "XX89 3704 0044 0532 0130 00",
             "aDE89370400440532013000", "DE89370400440532013000a"],
    "card": ["4111 1111 1111 1112", "1234567890123", "x4111111111111111", "41111111111111111111", "1790000000000",
             "411111111111"],
    "ip": ["127.0.0.1", "256.1.1.1", "1.2.3", "1.2.3.4.5", "12:30:45", "std::a::b", "::1", "0.0.0.0", "a::b"],
    "ssn": ["000-12-3456", "666-12-3456", "912-12-3456", "123-00-4567", "123-45-0000", "123-45 6789", "1123-45-6789",
            "123-45-67890"],
}  # fmt: skip
AROUND = (("", ""), ("It is ", "."), ("(", ")"), ("é:\n", "\nand"), ('"', '"'), ("a ", ", b"), ("", ": x"))


def redacted(text: str, kind: str) -> str:
    return searched(text, personal_rules([kind], "redact"), "input", lambda *_: None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_personal_is_found_wherever_it_stands(kind: str) -> None:
    for value in FOUND[kind]:
        for before, behind in AROUND:
            assert redacted(before + value + behind, kind) == f"{before}[personal/{kind}]{behind}", value
        assert redacted(f"{value}; {value}", kind) == f"[personal/{kind}]; [personal/{kind}]"


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_looks_like_it_stays(kind: str) -> None:
    for value in STAYS[kind]:
        assert redacted(f"so {value} is", kind) == f"so {value} is"


def test_a_number_is_found_among_others() -> None:
    assert redacted("1 4111 1111 1111 1111 22", "card") == "1 [personal/card] 22"
    assert redacted("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "iban") == "IBAN [personal/iban] BIC COBADEFF"
    assert redacted("192.0.2.17:8080", "ip") == "[personal/ip]:8080"


def test_the_check_digits_of_luhn_are_those_of_the_standard() -> None:
    assert luhn("79927398713") and not any(luhn(f"7992739871{digit}") for digit in "012456789")


def test_every_wrong_digit_of_an_iban_is_noticed() -> None:
    iban = "DE89370400440532013000"
    for place in range(2, len(iban)):
        wrong = str((int(iban[place]) + 1) % 10)
        assert redacted(iban[:place] + wrong + iban[place + 1 :], "iban") != "[personal/iban]"


@pytest.mark.parametrize(
    "text",
    ["4" * 40_000, "4444 " * 8_000, "a" * 40_000 + "@b.c1", "a@" * 20_000, "1:" * 10_000, "DE12 " * 4_000,
     "0123 " * 4_000, "1.1." * 5_000, "+1 " * 5_000, "(" * 40_000, "123-45-" * 5_000],
)  # fmt: skip
def test_no_text_makes_the_search_slow(text: str) -> None:
    """Quadratic time would be a minute of each."""
    for kind in KINDS:
        redacted(text, kind)


def test_all_is_every_kind() -> None:
    assert PolicySettings(personal_data=("all",)).kinds == KINDS
    assert PolicySettings(personal_data=("ip", "ip")).kinds == ("ip",)
