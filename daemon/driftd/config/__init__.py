"""Configuration: flags, then `DRIFTD_*`, then a TOML file, then defaults. `model.py` is the list of all settings."""

from driftd.config.load import Request, load
from driftd.config.locate import shipped_text
from driftd.config.settled import Configuration, Section, Source, Value

__all__ = ["Configuration", "Request", "Section", "Source", "Value", "load", "shipped_text"]
