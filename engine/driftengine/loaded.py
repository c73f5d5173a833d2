"""The models of one target as they were loaded last, by a process that stays: loaded anew only when they moved.

Events of a watcher are hints; what decides is a footprint of all that loading depended on. Of databases that the models
read only `stat` is asked: no footprint may open them.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from driftengine import footprint as footprints
from driftengine import remembered
from driftengine.desired import inputs_after, read_desired
from driftengine.dialects.sqlite.connect import Location
from driftengine.dialects.sqlite.held import Signature, signature
from driftengine.errors import DatabaseError, ModelsError
from driftengine.footprint import Inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from driftengine.desired import Ask, Desired, ModelSource
    from driftengine.footprint import Footprint

CANCELLED = "models-cancelled"


class LoadedModels:
    """What a source of models describes. `inputs` is what to watch, also behind an attempt that failed.

    `memory` is the folder of `remembered`, None for none. `own` gives the real path of the database that the process
    itself holds, and a token that is another one behind every commit in it. `warm` takes the place of
    `probe_process.ask`, with `uses` (names of what was used last) as one more argument, in all loads but the first and
    `fresh` ones: it may keep something ready, and who only waits pays for nothing. Used by one thread; `inputs` may be read by any.
    """

    def __init__(
        self,
        source: ModelSource,
        memory: Path | None,
        *,
        own: Callable[[], tuple[str, object]],
        warm: Ask | None = None,
    ) -> None:
        self.source = source
        self.inputs = Inputs()
        self.desired: Desired | None = None
        self.remembered = False
        self._memory, self._warm = memory, warm
        self._footprint: Footprint | None = None
        self._doubted: str | None = None
        self._doubtful = False
        self._own = own
        self._databases: Mapping[str, object] = {}
        self._written_while_loading = False

    def moved(self) -> bool:
        """True when loading may give something else than it gave last, be that models or an error."""
        if self._footprint is None or self._doubtful or self._written_while_loading:
            return True
        if self._databases != self._databases_of(self.inputs):
            return True
        if not footprints.moved(self._footprint):
            return False
        now = footprints.measure(self.inputs, self._footprint)
        if now.key != self._footprint.key:
            return True
        self._footprint = now
        return False

    def load(self, *, fresh: bool, cancelled: Callable[[], bool] | None) -> Desired:
        """Loads them; the first time, unless `fresh`, what another process has remembered will do. Raises ModelsError."""
        since, own = time.time_ns(), self._own()
        recalled = None
        if self._memory is not None and self._footprint is None and not fresh:
            recalled = remembered.recall(self._memory, self.source)
        self.remembered = recalled is not None
        if recalled is None:
            return self._probed(since, own, cancelled, fresh=fresh)
        found = footprints.measure(recalled.inputs)
        self._measured(found, None, since)
        return self._took(recalled, found)

    def _probed(
        self, since: int, own: tuple[str, object], cancelled: Callable[[], bool] | None, *, fresh: bool
    ) -> Desired:
        ask = None
        if self._warm is not None and self._footprint is not None and not fresh:
            ask = partial(self._warm, uses=self.desired.versions if self.desired else ())
        before = None if self._footprint is None else footprints.measure(self.inputs, self._footprint)
        try:
            desired = read_desired(self.source, cancelled=cancelled, ask=ask)
        except ModelsError as error:
            if error.code != CANCELLED:
                self.desired = None
                # What it depended on when it worked is watched too: taking a change back is a cure as well.
                self.inputs = self.inputs.joined(inputs_after(self.source, error))
                self._measured(footprints.measure(self.inputs), before, since)
                self._look_at_databases(self.inputs, since, own)
            raise
        found = footprints.measure(desired.inputs, before)
        certain = self._measured(found, before, since)
        self._look_at_databases(desired.inputs, since, own)
        if self._memory is not None and certain and not desired.inputs.databases:
            remembered.remember(self._memory, self.source, desired, found)
        return self._took(desired, found)

    def _took(self, desired: Desired, found: Footprint) -> Desired:
        self.inputs, self._footprint, self.desired = desired.inputs, found, desired
        return desired

    def _measured(self, found: Footprint, before: Footprint | None, since: int) -> bool:
        """False when something may have changed between the loading and this look at it: then it is loaded once more.

        Once only: a file with a time in the future would otherwise never be believed.
        """
        self._footprint = found
        certain = footprints.settled(found, since) or (before is not None and before.key == found.key)
        # Of the databases that models read no footprint tells anything; whoever knows them asks for a new loading.
        self._doubtful = not (certain or found.inputs.databases or found.key == self._doubted)
        self._doubted = found.key
        return certain

    # --- databases that the models read

    def _look_at_databases(self, inputs: Inputs, since: int, own: tuple[str, object]) -> None:
        """Takes what `moved` compares with. What was written while the models loaded is a reason to load them once more.

        Once only: models may write whenever they are loaded.
        """
        self._databases = self._databases_of(inputs)
        written = any(
            not one.settled(since) if isinstance(one, Signature) else path == own[0] and one != own[1]
            for path, one in self._databases.items()
        )
        self._written_while_loading = written and not self._written_while_loading

    def _databases_of(self, inputs: Inputs) -> dict[str, object]:
        """By path what tells of a change: a signature, of the process's own database its token."""
        paths = {os.path.realpath(path) for path in inputs.databases}
        if not paths:
            return {}
        name, token = self._own()
        return {path: token if path == name else _signature(path) for path in sorted(paths)}


def _signature(path: str) -> Signature | None:
    try:
        return signature(Location("", Path(path)))
    except DatabaseError:
        return None  # it may not be seen, or is no file: the models will say what that means to them
