"""The machine's service manager: where it looks for units, and what is asked of it when one comes or goes."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.service import plist
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# `systemctl restart` returns when the daemon is ready, or has failed to become it.
PATIENCE = 100.0  # seconds


@dataclass(frozen=True, slots=True)
class Manager:
    """One of them.

    Args:
        kind: `systemd` or `launchd`.
        scope: `system` or `user`.
        folder: where it looks for the files of a person, absolute.
    """

    kind: str
    scope: str
    folder: Path

    def path(self, name: str) -> Path:
        """The file of the service of that name."""
        file = f"{name}.service" if self.kind == "systemd" else f"{plist.label(name)}.plist"
        return self.folder / file

    @property
    def template(self) -> str:
        """The shipped file that stands for it."""
        if self.kind == "launchd":
            return "launchd/local.driftd.plist"
        return "driftd.service" if self.scope == "system" else "driftd-user.service"

    def starting(self, name: str) -> list[list[str]]:
        """What is to be run when the file has been written: read it, start with the machine, start now."""
        if self.kind == "launchd":
            path = str(self.path(name))
            return [["launchctl", "bootout", f"{_domain(self.scope)}/{plist.label(name)}"],
                    ["launchctl", "bootstrap", _domain(self.scope), path]]  # fmt: skip
        unit = f"{name}.service"
        # `enable --now` would leave a daemon running that was started with the unit as it was before.
        return [
            self._systemctl("daemon-reload"),
            self._systemctl("enable", unit),
            self._systemctl("restart", unit),
        ]

    def stopping(self, name: str) -> list[list[str]]:
        """What is to be run before the file goes."""
        if self.kind == "launchd":
            return [["launchctl", "bootout", f"{_domain(self.scope)}/{plist.label(name)}"]]
        return [self._systemctl("disable", "--now", f"{name}.service")]

    def gone(self) -> list[list[str]]:
        """What is to be run when the file is gone."""
        return [self._systemctl("daemon-reload")] if self.kind == "systemd" else []

    def _systemctl(self, *words: str) -> list[str]:
        return ["systemctl", *(["--user"] if self.scope == "user" else []), *words]

    def works(self) -> bool:
        """True when it runs here; in a container its command may be there and nobody behind it."""
        if self.kind == "launchd":
            return shutil.which("launchctl") is not None
        try:
            done = _run(self._systemctl("is-system-running"))
        except OSError:
            return False
        # https://www.freedesktop.org/software/systemd/man/systemctl.html: `degraded` is a manager that runs, too.
        return done.stdout.strip() not in {"", "offline", "unknown"}

    def ask(self, commands: Sequence[Sequence[str]]) -> None:
        """Runs the commands. Raises DriftError (`service-manager-refused`) for the first that fails."""
        for command in commands:
            done = _run(command)
            # There is nothing to take out of launchd the first time.
            if done.returncode and "bootout" not in command:
                raise DriftError(
                    f"{' '.join(command)} failed",
                    code="service-manager-refused",
                    why=(done.stderr or done.stdout).strip() or f"exit code {done.returncode}",
                    fix="see what the daemon said: " + self.log_command(command[-1]),
                )

    def log_command(self, unit: str) -> str:
        """What shows the log of a unit."""
        if self.kind == "launchd":
            return f"launchctl print {_domain(self.scope)}"
        return f"journalctl {'--user ' if self.scope == 'user' else ''}--unit {unit} --since -5min"


def manager_for(platform: str, scope: str, environment: Mapping[str, str]) -> Manager:
    """The manager of this platform, for the whole system or for this user."""
    home = Path(environment.get("HOME", "/"))
    if platform == "darwin":
        folder = Path("/Library/LaunchDaemons") if scope == "system" else home / "Library" / "LaunchAgents"
        return Manager("launchd", scope, folder)
    if scope == "system":
        return Manager("systemd", scope, Path("/etc/systemd/system"))
    configured = Path(environment.get("XDG_CONFIG_HOME", ""))
    base = configured if configured.is_absolute() else home / ".config"
    return Manager("systemd", scope, base / "systemd" / "user")


def _domain(scope: str) -> str:
    return "system" if scope == "system" else f"gui/{os.getuid()}"


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603  # words of our own and the unit's name, which is checked
            command, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise DriftError(
            f"{' '.join(command)} does not end",
            code="service-manager-refused",
            why=f"it was waited for {PATIENCE:.0f} seconds",
            fix="ask it yourself; the unit's file is in its place",
        ) from error
