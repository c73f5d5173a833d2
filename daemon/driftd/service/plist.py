"""A property list of launchd, out of the shipped one. Pure. See launchd.plist(5)."""

from __future__ import annotations

import plistlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from driftd.service.described import Described


def label(name: str) -> str:
    """What launchd knows the service by."""
    return f"local.{name}"


def render(template: str, described: Described) -> str:
    """The shipped list with this machine's values."""
    content: dict[str, Any] = plistlib.loads(template.encode())
    content |= {
        "Label": label(described.name),
        "ProgramArguments": list(described.command),
        "WorkingDirectory": described.directory,
        "StandardOutPath": described.log,
        "StandardErrorPath": described.log,
    }
    if described.environment:
        content["EnvironmentVariables"] = dict(described.environment)
    if described.scope == "system":
        content |= {"UserName": described.user, "GroupName": described.group}
    return plistlib.dumps(content, sort_keys=False).decode()
