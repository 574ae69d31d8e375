"""All settings of a deployment, read in one place and checked before anything starts.

Each setting is an environment variable RATEMILL_<NAME>, or a key in the TOML file that RATEMILL_SETTINGS names; the
environment wins. Lists are separated as paths are (":"). Unknown names are refused, so that a misspelt one is noticed.

>>> load_settings({"RATEMILL_KEY_GROUPS": "8"}).key_groups
8
"""

import os
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dataflows.errors import RatemillError

_PREFIX = "RATEMILL_"
_FILE = "RATEMILL_SETTINGS"
_DAYS_OF_LATENESS = 35


def _split(value: Any) -> Any:
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LatenessHours = Annotated[int, Field(gt=0, le=_DAYS_OF_LATENESS * 24)]


class Settings(BaseModel):
    """Settings with their defaults; times are in the unit that the name ends with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalog: Path | None = Field(None, description="folder of the catalog's YAML files")
    events: Annotated[tuple[Path, ...], BeforeValidator(_split)] = Field((), description="files of events")
    ledger: Path | None = Field(None, description="folder of the ledger")
    key_groups: int = Field(16, ge=1, le=1024, description="limit of parallelism, fixed when a ledger is made")
    writers: int = Field(2, ge=1, le=64, description="writers of the ledger, fixed when it is made")
    workers: int = Field(1, ge=1, le=64, description="worker threads of one process")
    processes: int = Field(1, ge=1, le=64, description="processes of the flow on this machine")
    lateness_hours: LatenessHours | None = Field(None, description="older events wait for a backfill; absent: none are")
    skew_seconds: Seconds | None = Field(300, description="how far an event may lie ahead of its record's time")
    epoch_seconds: Seconds = Field(2, description="time between two commits")
    batch_records: int = Field(50_000, ge=1, le=1_000_000, description="records of one batch")
    batch_bytes: int = Field(16 << 20, ge=1 << 17, le=1 << 30, description="bytes read at once")
    merge_files: int = Field(8, ge=2, description="small files of a table that are merged into one")
    merged_rows: int = Field(500_000, ge=1, description="rows of the largest merged file")
    replaced_files_seconds: Seconds = Field(
        900, description="how long replaced files stay for statements that read them"
    )

    @property
    def lateness_us(self) -> int | None:
        """The lateness in microseconds; None for none."""
        return None if self.lateness_hours is None else self.lateness_hours * 3_600_000_000

    @property
    def skew_us(self) -> int | None:
        """The skew in microseconds; None for no limit."""
        return None if self.skew_seconds is None else round(self.skew_seconds * 1_000_000)

    @property
    def epoch(self) -> timedelta:
        """The time between two commits."""
        return timedelta(seconds=self.epoch_seconds)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process; RatemillError names every wrong one."""
    environment = os.environ if environment is None else environment
    stated = _from_file(environment.get(_FILE)) | {
        name.removeprefix(_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(_PREFIX) and name != _FILE
    }
    try:
        return Settings.model_validate(stated)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}" for fault in error.errors()]
        raise RatemillError("wrong settings: " + "; ".join(faults)) from error


def _from_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RatemillError(f"cannot read the settings file {path}: {error}") from error
