"""On which line a key of a TOML text stands."""

from __future__ import annotations

import tomli
from hypothesis import given
from hypothesis import strategies as st

from driftd.config.scan import key_lines, line_of

TEXT = '''\
# [not.a.table]
[daemon]
log = "plain"   # x = 1

[ targets . "web app" ]
url = "sqlite:///[x]"
models = [
  "a:b",  # fake = 1
  "c = [",
]
'quoted key' = """
inner = 1
[also.not]
"""
backup.keep = 3
raw = \'\'\'
hidden = """ \'\'\'
mode = "dev"
[[targets.list]]
a = { b = 1, c = [1,
  2] }
last = 1
'''


def test_headers_and_keys_are_found() -> None:
    """Tables, dotted and quoted keys have their line; strings, comments and arrays over several lines have none."""
    assert key_lines(TEXT) == {
        ("daemon",): 2,
        ("daemon", "log"): 3,
        ("targets", "web app"): 5,
        ("targets", "web app", "url"): 6,
        ("targets", "web app", "models"): 7,
        ("targets", "web app", "quoted key"): 11,
        ("targets", "web app", "backup", "keep"): 15,
        ("targets", "web app", "raw"): 16,
        ("targets", "web app", "mode"): 18,
        ("targets", "list"): 19,
        ("targets", "list", "a"): 20,
        ("targets", "list", "last"): 22,
    }


def test_unknown_places_fall_back_to_what_is_around_them() -> None:
    """A key inside an inline table is shown where the table begins; what stands nowhere has no line."""
    lines = key_lines(TEXT)
    assert line_of(("targets", "list", "a", "b"), lines) == 20
    assert line_of(("targets", "web app", "window", "timeout"), lines) == 5
    assert line_of(("nowhere",), lines) is None


values = st.one_of(
    st.integers().map(str),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters='"\\')).map(
        '"{}"'.format
    ),
    st.lists(st.sampled_from(['"a]"', "1", "[2]"])).map(lambda parts: "[\n" + ",\n".join(parts) + "\n]"),
    st.sampled_from(['"""\nx = 1\n"""', "'''\n[x]\n'''", "{ a = 1 }", "true"]),
)


@given(st.lists(values, max_size=8))
def test_every_key_that_tomli_reads_is_found(texts: list[str]) -> None:
    """Whatever the values are, each key is found on the line that begins with it."""
    text = "[t]\n" + "".join(f"k{number} = {value} # c\n" for number, value in enumerate(texts))
    lines = key_lines(text)
    assert set(tomli.loads(text)["t"]) == {path[1] for path in lines if len(path) == 2}
    rows = text.splitlines()
    assert all(rows[line - 1].startswith(f"{path[1]} =") for path, line in lines.items() if len(path) == 2)
