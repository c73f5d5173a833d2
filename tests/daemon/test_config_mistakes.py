"""Mistakes in a configuration are told all at once, each with its place and what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from driftd.config import Request, load
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def refused(directory: Path, text: str, **request: object) -> ConfigurationError:
    """The error that a configuration with this text gives."""
    (directory / "driftd.toml").write_text(text)
    given = {"environment": {}, "directory": directory, **request}
    with pytest.raises(ConfigurationError) as caught:
        load(Request(**given))  # type: ignore[arg-type]  # keywords of Request
    return caught.value


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Wrong values, unknown keys, wrong names and undefined variables stand in one list, with lines and guesses."""
    error = refused(
        tmp_path,
        """\
[deamon]
[targets.web]
url = "sqlite:///web.db"
models = []
mode = "windw"
timeout = 3
python = "${NOPE}/python"
[targets.web.backup]
keeep = 3
keep = "no"
[targets.web.backfill]
"state" = "1"
[targets.web.policy]
"drop-table" = "alow"
[targets."x y"]
[targets.jobs]
""",
        environment={"DRIFTD_TARGETS_WEB_WINDOW_TIMEOUT": "soon"},
    )
    assert error.code == "configuration-invalid"
    assert error.what == f"{tmp_path}/driftd.toml: 13 mistakes in the configuration"
    *in_file, elsewhere = error.why.splitlines()
    assert elsewhere.startswith('DRIFTD_TARGETS_WEB_WINDOW_TIMEOUT is "soon": expected a duration above 0')
    assert in_file == [
        "line 1: deamon is no setting; did you mean daemon?",
        'line 4: targets.web.models is []: expected at least one "package.module:attribute" or a file that ends in .sql',
        'line 5: targets.web.mode is "windw": expected one of observe, window, dev; did you mean "window"?',
        "line 6: targets.web.timeout is no setting; did you mean window.timeout?",
        'line 7: targets.web.python is "${NOPE}/python": the environment variable NOPE is not set, and ${NOPE} has no default',
        "line 9: targets.web.backup.keeep is no setting; did you mean keep?",
        'line 10: targets.web.backup.keep is "no": expected a whole number from 1',
        'line 12: targets.web.backfill.state is no column: write "table.column", not "state"',
        'line 14: targets.web.policy.drop-table is "alow": expected one of hold, allow, ignore; did you mean "allow"?',
        "line 15: targets.x y is no name for a target: use letters, digits, '_', '-' and '.'",
        "line 16: targets.jobs has no url: the database, as an SQLAlchemy URL or the path of a file",
        "line 16: targets.jobs has no models: what describes it: `package.module:attribute`, or files of DDL (.sql)",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("targets = 3", "targets is 3: expected a table"),
        ("[targets]\nweb = 3", "targets.web is 3: expected a table"),
        ('[targets.a]\nurl="a.db"\nmodels=["m:B"]\nwindow = 3', "targets.a.window is 3: expected a table"),
        (
            '[targets.a]\nurl="a.db"\nmodels=["m:B"]\nbackfill = "x"',
            'targets.a.backfill is "x": expected a table',
        ),
        ('[targets.a]\nurl={x=1}\nmodels=["m:B"]', "targets.a.url is {'x': 1}: expected an SQLAlchemy URL"),
        ("[targets.a-b]\n[targets.a_b]\n", "targets.a_b shares its environment names with a-b"),
        (
            '[targets.a]\nurl="a.db"\nmodels=["m:B"]\n[targets.a.policy]\nx = 3',
            "targets.a.policy.x is 3: expected one of",
        ),
        ('[targets.a]\nurl="a.db"\nmodels=["m:B"]\nmode = "\\u001b[31m"', r'is "\x1b[31m": expected one of'),
    ],
)
def test_wrong_shapes_are_told(text: str, told: str, tmp_path: Path) -> None:
    """What is no table, a table where a value belongs, and names that collide are told without a traceback."""
    assert told in refused(tmp_path, text).why


def test_a_syntax_error_has_its_place(tmp_path: Path) -> None:
    """A file that is not TOML is shown with line, column and a mark under the place."""
    error = refused(tmp_path, "[targets.web]\nurl = sqlite:///web.db\n")
    assert error.code == "configuration-syntax"
    assert error.what == f"{tmp_path}/driftd.toml is not valid TOML, line 2, column 7"
    assert error.why.splitlines() == ["Invalid value", "  url = sqlite:///web.db", "        ^"]


def test_a_syntax_error_at_the_end_has_its_place_too(tmp_path: Path) -> None:
    """Where the reader says "end of document", the last line is shown."""
    error = refused(tmp_path, "[targets.web]\nmodels = [")
    assert "line 2, column 11" in error.what


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    """TOML is UTF-8; another encoding is named as the cause."""
    (tmp_path / "bad.toml").write_bytes(b"[targets.caf\xe9]\n")
    with pytest.raises(ConfigurationError) as caught:
        load(Request(environment={}, directory=tmp_path, config="bad.toml"))
    assert (caught.value.code, "offset 12" in caught.value.why) == ("configuration-syntax", True)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    """A wrong --config or DRIFTD_CONFIG is an error that names who said so; no other file is taken instead."""
    (tmp_path / "driftd.toml").write_text("")
    for request in ({"config": "gone.toml"}, {"environment": {"DRIFTD_CONFIG": "gone.toml"}}):
        error = refused(tmp_path, "", **request)
        assert error.code == "configuration-missing"
        assert error.why == f"{'--config' if 'config' in request else 'DRIFTD_CONFIG'} names it"


def test_targets_are_never_guessed(tmp_path: Path) -> None:
    """An unknown name, several targets without a choice, and none at all are three errors that say what to type."""
    two = '[targets.web]\nurl="a.db"\nmodels=["m:B"]\n[targets.jobs]\nurl="b.db"\nmodels=["m:B"]\n'
    unknown = refused(tmp_path, two, target="wbe")
    assert (unknown.code, unknown.fix) == ("target-unknown", "--target web")
    with pytest.raises(ConfigurationError) as ambiguous:
        load(Request(environment={}, directory=tmp_path)).target()
    assert (ambiguous.value.code, ambiguous.value.why) == ("target-ambiguous", "its targets are web, jobs")
    (tmp_path / "driftd.toml").write_text("")
    with pytest.raises(ConfigurationError) as missing:
        load(Request(environment={}, directory=tmp_path)).target()
    assert missing.value.code == "target-missing"


def test_wrong_backfills_name_the_flag(tmp_path: Path) -> None:
    """A --backfill that is no NAME=VALUE, or names no column, is told with the flag."""
    text = '[targets.a]\nurl="a.db"\nmodels=["m:B"]\n'
    error = refused(tmp_path, text, flags={"backfill": ("nothing", "state=1")})
    assert error.why.splitlines() == [
        '--backfill is "nothing": expected NAME=VALUE',
        '--backfill is no column: write "table.column", not "state"',
    ]
    assert (error.what, "--help" in error.fix) == ("2 mistakes on the command line", True)
