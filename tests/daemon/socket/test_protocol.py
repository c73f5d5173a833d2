"""Lines in and out, without a socket."""

from __future__ import annotations

import json

import pytest

from driftd.protocol import (
    COMMANDS,
    arguments_of,
    command_of,
    decode,
    encode,
    id_of,
    shown,
)
from driftengine.errors import DriftError


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"command": "status"', "not JSON"),
        (b"[]", "no object"),
        (b"null", "no object"),
        (b'"status"', "no object"),
        (b'{"command": "st\xff"}', "byte 16 of the line is not UTF-8"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"a":' * 12_000, "nested too deeply"),
        (b'{"id": NaN}', "NaN is no JSON number"),
        (b'{"id": -Infinity}', "-Infinity is no JSON number"),
        (b'{"id": ' + b"9" * 10_000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_object_is_refused_with_the_reason(line: bytes, why: str) -> None:
    """Whatever bytes come, the answer is one code and says what is wrong with them."""
    with pytest.raises(DriftError) as caught:
        decode(line)
    assert caught.value.code == "bad-request"
    assert why in caught.value.why


def test_a_line_may_end_as_on_windows() -> None:
    """A carriage return before the newline is white space to JSON."""
    assert decode(b'{"command": "status"}\r') == {"command": "status"}


@pytest.mark.parametrize("value", ["a", "", 7, -1.5, True, None, "\ud800"])
def test_an_id_is_repeated_as_it_came(value: object) -> None:
    """Any scalar can be an id, also null and half a surrogate pair."""
    echo = id_of(decode(json.dumps({"id": value}).encode()))
    assert json.loads(encode(echo)) == {"id": value}


@pytest.mark.parametrize("text", ["[1]", "{}", "1e999"])
def test_an_id_that_cannot_be_repeated_is_refused(text: str) -> None:
    """A list could be nested as deep as it likes, and infinity is no JSON."""
    with pytest.raises(DriftError) as caught:
        id_of(decode(f'{{"id": {text}}}'.encode()))
    assert caught.value.code == "bad-request"


def test_no_id_is_no_id() -> None:
    """A reply has an id only if the request had one."""
    assert id_of({"command": "status"}) == {}


def test_an_encoded_document_is_one_line_of_ascii() -> None:
    """Newlines and undecodable file names travel as escapes, so that a line is a line."""
    document = {"path": "/srv/a\nb\udcff/ü"}
    line = encode(document)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert json.loads(line) == document


def test_what_json_cannot_say_is_not_sent() -> None:
    """NaN would be a line that other languages cannot read."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode({"apply_ms": float("nan")})


@pytest.mark.parametrize(
    ("document", "code", "why"),
    [
        ({}, "bad-request", "names no command"),
        ({"command": 7}, "bad-request", "not a string"),
        ({"command": "statsu"}, "unknown-command", 'the nearest is "status"'),
        ({"command": "STATUS"}, "unknown-command", 'the nearest is "status"'),
        ({"command": "zzz"}, "unknown-command", "the commands are adopt, approve, check"),
        ({"command": "x" * 60_000}, "unknown-command", "the commands are"),
    ],
)
def test_a_command_that_there_is_not(document: dict[str, object], code: str, why: str) -> None:
    """The nearest name is said, or all of them; a very long one is not repeated in full."""
    with pytest.raises(DriftError) as caught:
        command_of(document, COMMANDS)
    assert caught.value.code == code
    assert why in caught.value.why
    assert len(str(caught.value)) < 300


def mistakes(command: str, **given: object) -> str:
    with pytest.raises(DriftError) as caught:
        arguments_of({"command": command, "id": 1, **given}, command, COMMANDS[command].arguments)
    assert caught.value.code == "bad-arguments"
    return caught.value.why


def test_every_wrong_argument_is_named_at_once() -> None:
    """Unknown ones with the nearest name, wrong types with what was expected, missing ones."""
    assert mistakes("approve", target=7, plam="x", operation="y") == (
        '"plam" is unknown (the nearest is plan); "operation" is unknown (the nearest is operations); '
        "target must be a string; operations is missing"
    )


@pytest.mark.parametrize("value", [[], "a", ["a", 1], {"a": 1}, 3])
def test_operations_are_a_list_of_strings(value: object) -> None:
    """Anything else, the empty list too, would approve something that nobody meant."""
    assert mistakes("approve", operations=value) == "operations must be a list of strings, not empty"


@pytest.mark.parametrize("value", [1, 0, "true", []])
def test_a_flag_is_true_or_false(value: object) -> None:
    """What only looks like a flag is refused: a wrong guess may load models or not."""
    assert mistakes("check", fresh=value) == "fresh must be true or false"


def test_null_counts_as_not_given() -> None:
    """So that a client may always send all of its arguments."""
    given = {"command": "status", "target": None, "holders": False}
    assert arguments_of(given, "status", COMMANDS["status"].arguments) == {"holders": False}
    assert mistakes("approve", operations=None) == "operations is missing"


def test_who_needs_to_write() -> None:
    """What changes something needs the right to; `check` does as soon as it loads the models."""
    writing = {name for name, command in COMMANDS.items() if command.needs_writing({})}
    orders = {"rollback", "revert", "adopt"}
    assert writing == {"stage", "approve", "pause", "resume", "reload", "window"} | orders
    assert COMMANDS["check"].needs_writing({"fresh": True})
    assert not COMMANDS["check"].needs_writing({"fresh": False})


def test_foreign_text_in_a_message_is_quoted_and_cut() -> None:
    """An escape sequence in a name does not reach a terminal through an error."""
    assert shown("a\x1b[2J") == '"a\\u001b[2J"'
    assert len(shown("x" * 500)) < 80
