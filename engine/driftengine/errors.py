"""One small tree of errors. Every error says what happened, why, and what to do, and carries a stable code.

Codes are listed, one paragraph each, in `docs/operations.md`; `driftd explain CODE` prints the same text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class DriftError(Exception):
    """Something driftd cannot do, told to a person.

    Args:
        what: what happened, one sentence without a full stop.
        code: a stable code in kebab case, `database-busy` for example.
        why: the cause, as far as it is known.
        fix: what to do about it, ready to type where that is possible.
    """

    def __init__(self, what: str, *, code: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what

    def __reduce__(self) -> tuple[object, ...]:
        """For pickle, which would call the class without its keyword arguments."""
        return _made_again, (type(self), self.args, self.__dict__)

    def as_document(self) -> dict[str, str]:
        """The error as it stands in JSON: `{code, what, why, fix}`."""
        return {"code": self.code, "what": self.what, "why": self.why, "fix": self.fix}


def _made_again(
    kind: type[DriftError], arguments: tuple[object, ...], state: dict[str, object]
) -> DriftError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(state)
    return error


class ConfigurationError(DriftError):
    """A configuration file, an environment variable or a flag is wrong."""


class ModelsError(DriftError):
    """The models could not be turned into DDL: they do not import, or `create_all` failed.

    `sources` are the files that the attempt had read, absolute: what to watch until it can succeed. `reads` is what else
    the probe tells of it, as in its answer; None when it could not answer.
    """

    sources: tuple[str, ...] = ()
    reads: Mapping[str, Sequence[str]] | None = None


class DatabaseError(DriftError):
    """The database cannot be used: it is missing, no database, corrupt, read-only, or not permitted."""


class BusyError(DatabaseError):
    """Somebody else holds a lock; the same call may succeed later."""


class DeadlineError(BusyError):
    """The time that was given is over; everything was rolled back."""


class PlanError(DriftError):
    """A plan cannot be made or no longer fits."""


class RehearsalError(DriftError):
    """The plan failed on a copy of the database, or its outcome was not what it promised."""

    def __init__(
        self, what: str, *, code: str, why: str = "", fix: str = "", operation: int | None = None
    ) -> None:
        super().__init__(what, code=code, why=why, fix=fix)
        self.operation = operation


class ProofError(DriftError):
    """Inside the transaction something other than the plan had happened; it was rolled back."""


class BackupError(DriftError):
    """A backup could not be made, verified, found or restored."""


class HistoryError(DriftError):
    """The history in the target or its journal cannot be read or does not verify."""
