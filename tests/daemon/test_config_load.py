"""Which configuration is read, and who has the last word on a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from driftd.config import Configuration, Request, load
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
[targets.web]
url = "sqlite:///data/web.db"
models = ["web.models:Base", "extra.sql"]
pythonpath = ["src"]
python = "venv/bin/python"
[targets.web.backup]
directory = "bak"
keep = 7
[targets.web.backfill]
"task.state" = "'open'"
task.size = "1"
"""


def loaded(directory: Path, **request: object) -> Configuration:
    """The configuration as a command in that directory would load it, with an environment of its own."""
    given = {"environment": {"HOME": str(directory / "home")}, "directory": directory, **request}
    return load(Request(**given))  # type: ignore[arg-type]  # keywords of Request


def test_relative_paths_of_a_file_are_relative_to_it(tmp_path: Path) -> None:
    """Wherever the command runs, the paths that a person wrote in a file mean the same."""
    config = tmp_path / "etc" / "driftd.toml"
    config.parent.mkdir()
    config.write_text(FILE)
    name, section = loaded(tmp_path, config="etc/driftd.toml").target()
    assert name == "web"
    assert section.get("url") == f"sqlite:///{tmp_path}/etc/data/web.db"
    assert section.get("models") == ("web.models:Base", str(tmp_path / "etc/extra.sql"))
    assert section.get("pythonpath") == (str(tmp_path / "etc/src"),)
    assert section.get("python") == str(tmp_path / "etc/venv/bin/python")
    assert section.get("backup.directory") == str(tmp_path / "etc/bak")
    assert loaded(tmp_path, config="etc/driftd.toml").home == tmp_path / "etc"


def test_relative_paths_from_elsewhere_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    """Flags, environment and built-in defaults are meant where the command is run."""
    config = tmp_path / "etc" / "driftd.toml"
    config.parent.mkdir()
    config.write_text('[targets.web]\nurl = "sqlite:///web.db"\nmodels = ["m:Base"]\n')
    section = loaded(
        tmp_path,
        config=str(config),
        environment={"DRIFTD_PYTHONPATH": "lib", "DRIFTD_MODELS": "a.sql"},
        flags={"url": "sqlite:///here.db"},
    ).target()[1]
    assert section.get("url") == f"sqlite:///{tmp_path}/here.db"
    assert section.get("models") == (str(tmp_path / "a.sql"),)
    assert section.get("pythonpath") == (str(tmp_path / "lib"),)
    assert section.get("backup.directory") == str(tmp_path / "backups/migrations")


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """Each layer speaks only where no stronger one does, and each value knows who said it."""
    (tmp_path / "driftd.toml").write_text(
        '[targets.web]\nurl = "sqlite:///web.db"\nmodels = ["m:Base"]\nmode = "observe"\nprobe_timeout = 5\n'
    )
    section = loaded(
        tmp_path,
        environment={"DRIFTD_MODE": "dev", "DRIFTD_MODELS": "env:Base", "DRIFTD_WINDOW_TIMEOUT": ""},
        flags={"models": ("flag:Base",)},
    ).target()[1]
    found = {name: (value.value, value.origin, value.place) for name, value in section.values.items()}
    assert found["models"] == (("flag:Base",), "flag", "--models")
    assert found["mode"] == ("dev", "environment", "DRIFTD_MODE")
    assert found["probe_timeout"] == (5.0, "file", f"{tmp_path}/driftd.toml:5")
    assert found["window.timeout"] == (15.0, "default", "")


def test_the_long_environment_name_is_stronger_and_names_its_target(tmp_path: Path) -> None:
    """`DRIFTD_TARGETS_NAME_KEY` is for that target alone, the short name for the selected one."""
    (tmp_path / "driftd.toml").write_text(
        '[targets.web-app]\nurl = "a.db"\nmodels = ["m:B"]\n[targets.jobs]\nurl = "b.db"\nmodels = ["m:B"]\n'
    )
    environment = {
        "DRIFTD_TARGETS_WEB_APP_MODE": "dev",
        "DRIFTD_MODE": "observe",
        "DRIFTD_TARGETS_JOBS_BACKUP_KEEP": "3",
        "DRIFTD_TARGET": "web-app",
        "DRIFTD_LOG": "json",
    }
    configuration = loaded(tmp_path, environment=environment)
    assert configuration.selected == "web-app"
    assert configuration.targets["web-app"].get("mode") == "dev"
    assert configuration.targets["jobs"].get("mode") == "window"
    assert configuration.targets["jobs"].get("backup.keep") == 3
    assert configuration.daemon.get("log") == "json"
    assert loaded(tmp_path, environment=environment, target="jobs").target()[1].get("mode") == "observe"


def test_free_tables_are_joined_entry_by_entry(tmp_path: Path) -> None:
    """Backfills of file, environment and flags add up; the stronger layer wins where they name the same column."""
    (tmp_path / "driftd.toml").write_text(FILE)
    section = loaded(
        tmp_path,
        environment={"DRIFTD_BACKFILL": "task.state='done'; task.size=2"},
        flags={"backfill": ("task.size=3=3", "task.note = ''")},
    ).target()[1]
    assert section.table("backfill") == {"task.state": "'done'", "task.size": "3=3", "task.note": "''"}


def test_free_tables_may_be_an_inline_table(tmp_path: Path) -> None:
    """An expression with semicolons can still be given by environment, as TOML."""
    (tmp_path / "driftd.toml").write_text(FILE)
    given = {"DRIFTD_BACKFILL": """{ "task.state" = "'a;b'" }""", "DRIFTD_POLICY": "drop-table=allow"}
    section = loaded(tmp_path, environment=given).target()[1]
    assert section.table("backfill") == {"task.state": "'a;b'", "task.size": "1"}
    assert section.table("policy") == {"drop-table": "allow"}


def test_entries_of_free_tables_may_hold_references(tmp_path: Path) -> None:
    """A policy can be switched by environment, and what comes out is held to the allowed words."""
    text = '[targets.a]\nurl = "a.db"\nmodels = ["m:B"]\n[targets.a.policy]\n"drop-table" = "${P:-hold}"\n'
    (tmp_path / "driftd.toml").write_text(text)
    assert loaded(tmp_path).target()[1].table("policy") == {"drop-table": "hold"}
    assert loaded(tmp_path, environment={"P": "allow"}).target()[1].table("policy") == {"drop-table": "allow"}
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, environment={"P": "alow"})
    assert 'did you mean "allow"?' in caught.value.why


def test_references_are_expanded_in_files_only(tmp_path: Path) -> None:
    """A shell has already expanded what stands in variables and flags, so a dollar in them is a dollar."""
    (tmp_path / "driftd.toml").write_text(
        '[targets.web]\nurl = "sqlite:///${WHERE:-data}/web.db"\nmodels = ["${M}:Base"]\nprobe_timeout = "${T:-9}"\n'
    )
    environment = {"M": "app", "DRIFTD_BACKUP_DIRECTORY": "/bak/${M}"}
    section = loaded(tmp_path, environment=environment).target()[1]
    assert section.get("url") == f"sqlite:///{tmp_path}/data/web.db"
    assert section.get("models") == ("app:Base",)
    assert section.get("probe_timeout") == 9
    assert section.get("backup.directory") == "/bak/${M}"


def test_files_are_looked_for_in_order(tmp_path: Path) -> None:
    """driftd.toml, a config.toml of ours, the personal folder, then the shipped default; DRIFTD_CONFIG comes first."""
    environment = {"HOME": str(tmp_path / "home")}
    text = '[targets.t]\nurl = "t.db"\nmodels = ["m:B"]\n'
    personal = tmp_path / "home" / ".config" / "driftd" / "config.toml"

    def found() -> tuple[Path | None, str]:
        source = loaded(tmp_path, environment=environment).source
        return source.path, source.how

    assert found()[1] == "shipped"
    personal.parent.mkdir(parents=True)
    personal.write_text(text)
    assert found() == (personal, "found")
    (tmp_path / "config.toml").write_text('theme = "hugo"\n')
    assert found() == (personal, "found")
    (tmp_path / "config.toml").write_text(text)
    assert found() == (tmp_path / "config.toml", "found")
    (tmp_path / "driftd.toml").write_text(text)
    assert found() == (tmp_path / "driftd.toml", "found")
    environment["DRIFTD_CONFIG"] = str(personal)
    assert found() == (personal, "environment")


def test_a_broken_config_toml_of_ours_is_not_passed_over(tmp_path: Path) -> None:
    """A syntax error must not make another file count in silence."""
    (tmp_path / "config.toml").write_text("[targets.web]\nurl = nothing\n")
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path)
    assert caught.value.code == "configuration-syntax"


def test_url_alone_reads_no_file(tmp_path: Path) -> None:
    """With --url the file in the working directory, even a broken one, is not looked at; the target has a name all the same."""
    (tmp_path / "driftd.toml").write_text("broken")
    configuration = loaded(
        tmp_path,
        environment={"DRIFTD_CONFIG": "nowhere.toml", "DRIFTD_TARGET": "web", "DRIFTD_MODE": "dev"},
        flags={"url": "sqlite:///my app.db?x=1", "models": ("m:Base",)},
    )
    name, section = configuration.target()
    assert (name, configuration.source.how, configuration.home) == ("my_app", "none", tmp_path)
    assert section.get("url") == f"sqlite:///{tmp_path}/my app.db?x=1"
    assert section.get("mode") == "dev"


def test_url_beside_a_target_overrides_it(tmp_path: Path) -> None:
    """--url together with --target is that target with another database."""
    (tmp_path / "driftd.toml").write_text(FILE)
    section = loaded(tmp_path, target="web", flags={"url": "other.db"}).target()[1]
    assert section.get("url") == str(tmp_path / "other.db")
    assert section.get("backup.keep") == 7


def test_models_are_asked_for_only_where_they_are_needed(tmp_path: Path) -> None:
    """History and backups work on a database alone; a check without models names the missing flag."""
    flags = {"url": "sqlite:///x.db"}
    assert loaded(tmp_path, flags=flags, needs_models=False).target()[1].get("models") is None
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, flags=flags)
    assert caught.value.code == "configuration-invalid"
    assert "--models is missing" in caught.value.why


def test_unknown_variables_are_noted(tmp_path: Path) -> None:
    """A misspelt DRIFTD_ name is no error, but it is told."""
    environment = {"DRIFTD_MOED": "dev", "DRIFTD_DEBUG": "1", "DRIFTD_LOG": "plain", "OTHER": "1"}
    assert loaded(tmp_path, environment=environment).unread == ("DRIFTD_MOED",)
