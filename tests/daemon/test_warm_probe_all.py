"""With DRIFTD_FAULTS=all: every test of the probe once more, with each load made by a template's child and compared."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import probe_process
from driftengine.errors import ModelsError
from probe_project import ModelProject
from settled import settle
from support.warm import Warm, one_environment, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Case = tuple[Callable[..., None], dict[str, Any]]

HERE = Path(__file__).parent.parent / "engine"
FILES = ("failures", "process", "reads", "schema", "specs")
# They look at processes and descriptors of their own, give the models one second, or leave files behind that the next
# load finds: two loads are not one.
ONCE = {
    "test_interrupting_the_caller_leaves_nothing_behind",
    "test_an_import_that_ignores_all_signals_is_killed",
    "test_a_probe_leaves_no_descriptor_open",
    "test_an_import_that_hangs_says_where",
    "test_an_installed_package_has_its_place_too",
    "test_loading_can_be_given_up",
    "test_models_that_fail_tell_what_would_help",
    "test_a_hook_of_the_models_own_sees_no_failure_of_ours",
    "test_probes_at_the_same_time_do_not_disturb_each_other",
}

pytestmark = [
    pytest.mark.skipif(os.environ.get("DRIFTD_FAULTS") != "all", reason="DRIFTD_FAULTS=all: some minutes"),
    pytest.mark.timeout(300),
]


def comparable(told: str) -> Any:
    """Without what is another one in each process: addresses, and the order in which SQLAlchemy makes a table's indexes."""
    document = json.loads(re.sub("0x[0-9a-f]+", "0x", told))
    if isinstance(document, dict):
        document["stored"].sort(key=json.dumps)
    return document


def cases() -> Iterator[Any]:
    """Each test function that wants nothing but a project, with its parameters."""
    for name in FILES:
        path = HERE / f"test_probe_{name}.py"
        spec = importlib.util.spec_from_file_location(f"again_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for title, function in vars(module).items():
            if title.startswith("test_") and title not in ONCE:
                yield from cases_of(title, function)


def cases_of(title: str, function: Callable[..., None]) -> Iterator[Any]:
    """One for each set of parameters."""
    rows: list[dict[str, Any]] = [{}]
    for mark in getattr(function, "pytestmark", ()):
        if mark.name == "parametrize":
            names = (
                mark.args[0]
                if isinstance(mark.args[0], (list, tuple))
                else mark.args[0].replace(" ", "").split(",")
            )
            rows = [
                {**row, **dict(zip(names, value if len(names) > 1 else (value,), strict=True))}
                for row in rows
                for value in mark.args[1]
            ]
    for number, row in enumerate(rows):
        if set(inspect.signature(function).parameters) <= {"project", "monkeypatch", "tmp_path", *row}:
            yield pytest.param((function, row), id=f"{title}-{number}")


@pytest.fixture(scope="module")
def tries() -> list[int]:
    """How many loads each test has compared."""
    return []


@pytest.mark.parametrize("case", list(cases()) if os.environ.get("DRIFTD_FAULTS") == "all" else [None])
def test_the_tests_of_the_probe_hold_for_a_template(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: list[int]
) -> None:
    """What they say holds, and whatever they load is the same as from a probe of its own."""
    function, parameters = case
    warm, own, compared = Warm(), probe_process.ask, []

    def ask(python: str, request: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        if request["mode"] == "schema" and Path(request["directory"]).is_dir():
            settle(Path(request["directory"]))
            with monkeypatch.context() as inner, one_environment():
                inner.setattr(probe_process, "ask", own)
                expected = outcome(own, python, request)
                try:
                    told = warm.templates.ask(python, request, **options)
                except ModelsError as error:
                    given = (error.code, error.what, error.why, error.fix, error.sources, error.reads)
                    assert comparable(json.dumps(given, sort_keys=True)) == comparable(expected)
                    raise
                finally:
                    compared.append(expected)
            assert comparable(json.dumps(told, sort_keys=True)) == comparable(expected)
            return told
        return own(python, request, **options)

    monkeypatch.setattr(probe_process, "ask", ask)
    given = {
        "project": ModelProject(tmp_path),
        "monkeypatch": monkeypatch,
        "tmp_path": tmp_path,
        **parameters,
    }
    try:
        function(**{name: given[name] for name in inspect.signature(function).parameters})
    finally:
        warm.templates.close()
    tries.append(len(compared))
    sys.stdout.write(
        f"loads compared so far: {sum(tries)}; by a probe of its own: {'; '.join(warm.given_up)}\n"
    )
