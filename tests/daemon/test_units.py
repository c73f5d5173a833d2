"""The shipped units and the examples of docs/service.md, judged by systemd itself; and the property list of launchd."""

from __future__ import annotations

import json
import plistlib
import re
import subprocess
from pathlib import Path

import pytest
import tomli

from driftd.startup.arguments import parse
from support.systemd import complaints, exposure

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
SYSTEM = ("driftd.service", "driftd@.service")
HARDENING = (ROOT / "systemd" / "driftd.service").read_text(encoding="utf-8")
LEFT_OFF = ("PrivateUsers", "ProtectProc", "ProcSubset", "MemoryDenyWriteExecute", "DynamicUser")
# What a user's service manager may only set in a user namespace, or not at all.
SYSTEM_ONLY = (
    "ProtectSystem", "ProtectHome", "ReadWritePaths", "PrivateTmp", "PrivateDevices", "ProtectKernelTunables",
    "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectClock", "ProtectHostname",
    "IPAddressDeny", "PrivateNetwork", "CapabilityBoundingSet", "User", "Group", "StateDirectory", "StateDirectoryMode", "CacheDirectory", "CacheDirectoryMode",
)  # fmt: skip


def settings(text: str) -> dict[str, list[str]]:
    """What a unit sets, key by key."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def blocks(language: str) -> list[str]:
    """The fenced blocks of that language on the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", [*SYSTEM, "driftd-user.service"])
def test_systemd_has_nothing_to_say_about_a_shipped_unit(name: str, tmp_path: Path) -> None:
    """Every key is known, every value fits, and the command is there, on any machine."""
    assert complaints(UNITS / name, tmp_path, user="user" in name) == ""


def test_a_mistake_would_be_noticed(tmp_path: Path) -> None:
    """The silence above means something."""
    bad = tmp_path / "bad.service"
    bad.write_text(HARDENING.replace("UMask=", "UMassk="), encoding="utf-8")
    assert "UMassk" in complaints(bad, tmp_path)


@pytest.mark.parametrize("name", SYSTEM)
def test_a_system_unit_is_exposed_to_little(name: str) -> None:
    """Below 2.0 on systemd's scale, where 10 is no protection."""
    assert exposure(UNITS / name) < 2.0


def test_what_driftd_needs_is_not_taken_away() -> None:
    """Peer ids, the process table, models' packages, priorities and the owner's rights."""
    for unit in UNITS.glob("*.service"):
        found = settings(unit.read_text(encoding="utf-8"))
        assert not set(LEFT_OFF) & set(found), unit.name
        assert not any("@resources" in value for value in found["SystemCallFilter"]), unit.name


def test_the_three_units_differ_in_nothing_but_place_and_rights() -> None:
    """What one says about the life of the daemon, all of them say."""
    own = {"Description", "After", "ExecStart", "WorkingDirectory", "User", "Group", "RuntimeDirectory",
           "StateDirectory", "CacheDirectory", "Environment", "WantedBy"}  # fmt: skip
    texts = {unit.name: settings(unit.read_text(encoding="utf-8")) for unit in UNITS.glob("*.service")}
    assert len(texts) == 3
    life = {
        name: {key: value for key, value in found.items() if key not in own} for name, found in texts.items()
    }
    assert life["driftd@.service"] == life["driftd.service"]
    assert life["driftd-user.service"] == {
        key: value for key, value in life["driftd.service"].items() if key not in SYSTEM_ONLY
    }
    assert texts["driftd.service"]["Type"] == ["notify"]
    assert texts["driftd.service"]["RestartPreventExitStatus"] == ["78"]


def test_launchd_starts_it_again_only_when_it_fails() -> None:
    """The shipped list round-trips, has no WatchPaths, and logs to a file."""
    content = plistlib.loads((UNITS / "launchd" / "local.driftd.plist").read_bytes())
    assert plistlib.loads(plistlib.dumps(content)) == content
    assert content["KeepAlive"] == {"SuccessfulExit": False}
    assert "WatchPaths" not in content
    assert content["StandardErrorPath"].endswith(".log")
    assert content["ProgramArguments"][:3] == ["/usr/bin/env", "driftd", "run"]
    assert content["Label"] + ".plist" == "local.driftd.plist"


# --- the page


@pytest.mark.parametrize("number", range(len(blocks("ini"))))
def test_the_units_of_the_page_are_units(number: int, tmp_path: Path) -> None:
    """They are understood as they are printed; a driftd.service that they name is the shipped one."""
    text = blocks("ini")[number]
    name = re.match(r"# (?:.*/)?([a-z@-]+\.service)(\.d/\S+)?\n", text)
    assert name, "the first line says where the file is placed"
    if name[2]:
        unit = tmp_path / name[1]
        unit.write_text((UNITS / name[1]).read_text(encoding="utf-8"), encoding="utf-8")
        folder = tmp_path / (name[1] + ".d")
        folder.mkdir()
        (folder / "x.conf").write_text(text, encoding="utf-8")
    else:
        unit = tmp_path / name[1]
        # The page's commands are those of a machine of the reader's.
        unit.write_text(
            re.sub(r"^(Exec\w+=)\S+", r"\1/usr/bin/env", text, flags=re.MULTILINE), encoding="utf-8"
        )
        (tmp_path / "driftd.service").write_text(HARDENING, encoding="utf-8")
    assert complaints(unit, tmp_path) == ""


def test_the_data_of_the_page_parses() -> None:
    """JSON, TOML and shell blocks are what they say they are."""
    clients = [json.loads(block) for block in blocks("json")]
    servers = [server for client in clients for server in client.get("mcpServers", {"": client}).values()]
    assert [server["args"][:2] for server in servers] == [["exec", "--"], ["exec", "--config"]]
    config = servers[1]["args"][2]
    options = parse("exec", servers[1]["args"][1:])
    assert options is not None
    assert options.config == config
    assert all(Path(one).is_absolute() for one in (config, servers[1]["command"], servers[1]["args"][4]))
    for block in blocks("toml"):
        tomli.loads(block)
    assert blocks("sh")
    for block in blocks("sh"):
        subprocess.run(["sh", "-n", "-c", block], check=True)


def test_the_page_says_how_exposed_the_units_are() -> None:
    """The numbers that the page gives are those that systemd-analyze gives; later releases may judge otherwise."""
    for name in SYSTEM:
        told = re.search(rf"`{re.escape(name)}` \| ([0-9.]+)", PAGE)
        assert told
        assert abs(exposure(UNITS / name) - float(told[1])) <= 0.3
