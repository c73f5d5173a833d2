"""The journal: whole lines only, from many processes, through crashes and full disks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

import unprivileged
from driftengine import journal
from driftengine.errors import BusyError, HistoryError
from driftengine.journal import Journal, Record, append, canonical, read, timestamp

ONE = Record("backup", "2026-01-31T12:00:00.000Z", "id", {"b": 1, "a": "grün"})
TWO = Record("restored", "2026-01-31T12:00:01.000Z", "id")


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    """Records come back equal and in order; each is one line of plain JSON."""
    path = tmp_path / "journal.jsonl"
    append(path, ONE)
    append(path, TWO)
    assert read(path) == Journal((ONE, TWO))
    assert path.read_text("ascii").count("\n") == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_journal_is_an_empty_journal(tmp_path: Path) -> None:
    """Reading makes no file."""
    assert read(tmp_path / "journal.jsonl") == Journal()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_torn_last_line_hides_nothing(tmp_path: Path, cut: int) -> None:
    """Lines before it are read; the next record takes the place of what a dying writer has left, which is no alteration."""
    path = tmp_path / "journal.jsonl"
    append(path, ONE)
    append(path, TWO)
    os.truncate(path, path.stat().st_size - cut)
    found = read(path)
    # Without its end alone, the record is whole.
    assert found.records == ((ONE, TWO) if cut == 1 else (ONE,))
    assert (found.problems, found.breaks) == ((), (1,) if cut > 1 else ())
    append(path, TWO)
    assert read(path).records == (*found.records, TWO)
    assert read(path).problems == ()


@pytest.mark.parametrize(
    "line",
    ["[]", "null", "{}", '{"event": 1}', "\x00\x00", '{"event":"a","at":"","database_id":"","detail":1}'],
)
def test_a_line_that_is_no_record_is_passed_over(tmp_path: Path, line: str) -> None:
    """Whatever stands there is told with its line number, and the rest is read."""
    path = tmp_path / "journal.jsonl"
    append(path, ONE)
    with path.open("a") as file:
        file.write(line + "\n")
    append(path, TWO)
    found = read(path)
    assert found.records == (ONE, TWO)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("line 2 ")


def test_bytes_that_are_no_text_do_not_stop_reading(tmp_path: Path) -> None:
    """A damaged sector takes its lines, not the journal."""
    path = tmp_path / "journal.jsonl"
    append(path, ONE)
    with path.open("ab") as file:
        file.write(b"\xff\xfe\n")
    append(path, TWO)
    assert read(path).records == (ONE, TWO)


def test_what_was_read_before_is_believed_while_it_stands(tmp_path: Path) -> None:
    """Read again and again between lines that come, are torn, altered or cut off, it is what the file holds, no more, no less."""
    path, random = tmp_path / "journal.jsonl", Random(7)  # noqa: S311  # the same tries each time
    for number in range(400):
        kind = random.choice(["append"] * 6 + ["torn", "altered", "cut", "another", "empty line"])
        raw = path.read_bytes() if path.exists() else b""
        if kind == "append":
            append(path, Record("backup", timestamp(datetime.now(UTC)), detail={"id": f"b{number}"}))
        elif kind == "altered" and raw:
            place = random.randrange(len(raw))
            path.write_bytes(raw[:place] + bytes([random.randrange(256)]) + raw[place + 1 :])
        elif kind == "cut":
            path.write_bytes(raw[: random.randrange(len(raw) + 1)])
        else:
            ends = {"torn": raw + b'{"event": "ba', "another": b"", "empty line": raw + b"\n"}
            path.write_bytes(ends.get(kind, raw))
        assert read(path) == journal.parse(path.read_bytes().decode("utf-8", "replace")), (number, kind)


def test_many_processes_write_whole_lines(tmp_path: Path) -> None:
    """Four writers at once lose nothing and mix nothing, also where a line is longer than a pipe or a page."""
    path = tmp_path / "journal.jsonl"
    code = (
        "import sys; from pathlib import Path; from driftengine.journal import Record, append\n"
        "for n in range(25): append(Path(sys.argv[1]), Record(sys.argv[2], str(n), '', {'long': sys.argv[2] * 20000}))"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), name],
            env={**os.environ, "PYTHONPATH": str(unprivileged.ENGINE)},
        )
        for name in "abcd"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    found = read(path)
    assert found.problems == ()
    for name in "abcd":
        mine = [record for record in found.records if record.event == name]
        assert [record.at for record in mine] == [str(number) for number in range(25)]
        assert all(record.detail == {"long": name * 20000} for record in mine)


def test_a_killed_writer_holds_no_lock(tmp_path: Path) -> None:
    """The lock dies with its process."""
    path = tmp_path / "journal.jsonl"
    code = (
        "import fcntl, os, sys; d = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(d, fcntl.LOCK_EX)\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    append(path, ONE)
    assert read(path).records == (ONE,)


def test_a_lock_that_is_never_released_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process does not stop everybody else for ever."""
    monkeypatch.setattr(journal, "PATIENCE", 0.05)
    path = tmp_path / "journal.jsonl"
    append(path, ONE)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for attempt in (lambda: append(path, TWO), lambda: read(path)):
            with pytest.raises(BusyError) as caught:
                attempt()
            assert caught.value.code == "journal-busy"
    assert read(path).records == (ONE,)


@pytest.mark.parametrize("short", [True, False])
def test_a_full_disk_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    """A line that was written in part, or not at all, is taken back."""
    path = tmp_path / "journal.jsonl"
    append(path, ONE)
    before = path.read_bytes()
    write = os.write

    def full(descriptor: int, line: bytes) -> int:
        if short:
            return write(descriptor, line[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(HistoryError) as caught:
            append(path, TWO)
    assert caught.value.code == "journal-unwritable"
    assert path.read_bytes() == before
    append(path, TWO)
    assert read(path) == Journal((ONE, TWO))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """Nobody makes us write into another file, and a pipe does not make us wait."""
    (tmp_path / "target").write_text("mine\n")
    (tmp_path / "journal.jsonl").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("journal.jsonl", "pipe"):
        with pytest.raises(HistoryError):
            append(tmp_path / name, ONE)
        with pytest.raises(HistoryError):
            read(tmp_path / name)
    assert (tmp_path / "target").read_text() == "mine\n"


def test_who_may_not_write_is_told(tmp_path: Path) -> None:
    """Without the right to write the record is refused with its code, and reading still works."""
    folder = Path(tempfile.mkdtemp(prefix="driftd-journal-"))
    try:
        append(folder / "journal.jsonl", ONE, mode=0o644)
        folder.chmod(0o755)
        (folder / "journal.jsonl").chmod(0o444)
        code = (
            "import sys; from pathlib import Path; from driftengine.journal import *\n"
            "from driftengine.errors import HistoryError; path = Path(sys.argv[1]); print(len(read(path).records))\n"
            "try: append(path, Record('backup', ''))\n"
            "except HistoryError as error: print(error.code)"
        )
        assert unprivileged.run(code, folder / "journal.jsonl").split() == ["1", "journal-unwritable"]
    finally:
        shutil.rmtree(folder)


def test_a_journal_made_by_root_belongs_to_the_folder_s_owner(tmp_path: Path) -> None:
    """What root has begun, the service's user goes on with."""
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    folder = tmp_path / "backups"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    append(folder / "journal.jsonl", ONE)
    assert (folder / "journal.jsonl").stat().st_uid == 12345


def test_one_value_has_one_spelling() -> None:
    """What is hashed does not depend on the order of keys, and holds bytes that are no UTF-8 without loss."""
    assert canonical({"b": [1, None], "a": "\udcff"}) == '{"a":"\\udcff","b":[1,null]}'
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))
    assert timestamp(datetime(2026, 1, 31, 12, 0, 0, 7999, UTC)) == "2026-01-31T12:00:00.007Z"
