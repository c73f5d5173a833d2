"""`driftd demo`: the whole story on a small task tracker, told by the real commands in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.demo.stage import Stage
from driftd.demo.story import Surprise, tell_story

if TYPE_CHECKING:
    from collections.abc import Callable


def play(tell: Callable[[str], None], *, keep: bool = False) -> int:
    """Tell the story; 0 when all went as told, 1 when something did not. The folder goes, unless it is to be kept."""
    stage = Stage(Path(tempfile.mkdtemp(prefix="driftd-demo-")).resolve())
    try:
        tell_story(stage, tell)
    except Surprise as surprise:
        tell(f"\nThe demo went wrong: {surprise}")
        return 1
    finally:
        # Also after Ctrl-C: a demo leaves nothing behind.
        if keep:
            tell(f"\nThe folder is kept: {stage.folder}")
        else:
            shutil.rmtree(stage.folder)
    return 0
