"""The settings of an installation: the ``YOLO_ASSETS_*`` environment variables, read and validated in one place.

Belongs here: each setting with its variable, its type, its default and the sentence that docs/operations.md shows for
it. Does not belong here: S3 credentials and endpoints, which come from the standard AWS variables and are read by
``storage`` alone; the edge agent's configuration file (``edge.config``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from yolo_assets.contracts.archiver_figures import FIGURES
from yolo_assets.contracts.errors import UsageError
from yolo_assets.contracts.locations import location_folder, location_url, page_address

PREFIX = "YOLO_ASSETS_"
PLANT_FILE = "plant.yaml"
"""In the home."""
_MOST = 1e6
"""Upper limit of any number here: a century in hours."""


def _variable(name: str) -> AliasChoices:
    """The environment variable of a field whose own name is longer; the field's name stays valid in Python."""
    field, _, variable = name.partition("=")
    return AliasChoices(PREFIX + variable, field)


def _names(value: Any) -> Any:
    """``a, b,`` as a tuple of names."""
    return tuple(name for raw in value.split(",") if (name := raw.strip())) if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _located(read: Callable[[Any], Any]) -> BeforeValidator:
    """A location or an address, read by the rules of ``contracts.locations``; its refusal is the whole message."""

    def validated(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return read(value)
        except (UsageError, ValueError) as error:
            raise PydanticCustomError("location", "{reason}", {"reason": str(error)}) from None

    return BeforeValidator(validated)


_Folder = Annotated[Path, _located(location_folder), AfterValidator(Path.absolute)]
_Url = Annotated[str, _located(location_url)]
_Number = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Resolved settings; command-line options override single fields with ``model_copy``.

    Built by hand, as in tests or from Dagster's configuration, it holds what it was given and defaults. Only
    ``from_env`` reads the environment.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", populate_by_name=True
    )

    home: _Folder = Field(
        default=Path("var"),
        description="everything that has no location of its own; `DAGSTER_HOME` is its folder `dagster`",
    )
    spool: _Folder = Field(default=Path("<home>/spool"), description="where agents write their hours")
    archive_url: _Url = Field(
        default="<home>/archive",
        validation_alias=_variable("archive_url=ARCHIVE"),
        description="archive root: archives, indexes, receipts; write-once where the store supports it",
    )
    archive_copy_url: _Url | None = Field(
        default=None,
        validation_alias=_variable("archive_copy_url=ARCHIVE_COPY"),
        description="second place of the archive, as `yolo-assets archive replicate` fills it; what is read falls back "
        "to it when the archive root is away or lacks an object",
    )
    store_url: _Url = Field(
        default="<home>/store",
        validation_alias=_variable("store_url=STORE"),
        description="store root: tables, catalog, labels, datasets, models, channels; an unversioned bucket",
    )
    plant: _Folder = Field(
        default=Path("<home>") / PLANT_FILE,
        description="file that describes the plant: the cameras that should be there; it need not exist",
    )
    pages: Annotated[str, _located(page_address)] | None = Field(
        default=None,
        description="address under which browsers reach `yolo-assets pages`, for the links and pictures in Dagster's "
        "UI; without it there are none",
    )
    model_name: str = Field(
        default="line",
        validation_alias=_variable("model_name=MODEL"),
        description="the model that is trained and released",
    )
    class_names: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = Field(
        default=(),
        validation_alias=_variable("class_names=CLASSES"),
        description="classes that people label, in order, separated by commas; the first list of classes is made of "
        "them, and once there is a list (`yolo-assets classes ls`) they are not read any more",
    )
    new_classes: Annotated[Literal["reject", "add"], BeforeValidator(_lower)] = Field(
        default="reject",
        description="a label with a class that is not known: `reject` it and name the nearest one, or `add` the class",
    )
    training_recipe: _Folder | None = Field(
        default=None,
        validation_alias=_variable("training_recipe=RECIPE"),
        description="file with training options (TOML, YAML, JSON): `starter` and `fine_tune`",
    )
    training_pod: _Folder | None = Field(
        default=None,
        description="file that describes the pod in which trainings run, in a cluster; without it they run here",
    )
    gate_policy: _Folder | None = Field(
        default=None,
        validation_alias=_variable("gate_policy=GATE"),
        description="file with the limits of the promotion gate (TOML, YAML, JSON)",
    )
    language: Annotated[Literal["en", "zh"], BeforeValidator(_lower)] = Field(
        default="en",
        validation_alias=_variable("language=LANG"),
        description="language of evidence reports and of the page `today`: `en` or `zh`",
    )
    fonts: Annotated[tuple[_Folder, ...], NoDecode, BeforeValidator(_names)] = Field(
        default=(),
        description="font files and folders for evidence reports, separated by commas; by default the fonts of the "
        "system. Latin, Greek, Cyrillic, Hebrew and Arabic need none",
    )
    hot_hours: _Number = Field(
        default=0.0, description="hours for which a local file is kept, at least, after its hour ended, archived or not"
    )
    grace_seconds: _Number = Field(
        default=300.0, description="seconds without a new file after which an hour without a seal is closed"
    )
    retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=0, description="days for which archives are write-once after their upload; 0: no retention"
    )
    retention_mode: Annotated[Literal["compliance", "governance"], BeforeValidator(_lower)] = Field(
        default="compliance",
        description="`compliance`: it cannot be shortened; `governance`: it can, with the bypass permission",
    )
    timestamp_authority: Annotated[str, _located(page_address)] | None = Field(
        default=None,
        description="address of a time-stamp authority (RFC 3161) that stamps each checkpoint; without it there are no "
        "time stamps",
    )
    timestamp_roots: _Folder | None = Field(
        default=None,
        description="file with the certificates (PEM) of the time-stamp authorities that are trusted; with it every "
        "checkpoint must be stamped by one of them",
    )
    cosigned: _Url | None = Field(
        default=None,
        description="where a witness puts the checkpoints that it co-signed (its folder `cosigned`); `archive "
        "checkpoint` takes them over",
    )
    bandwidth: str = Field(
        default="",
        validation_alias=_variable("bandwidth=BWLIMIT"),
        description="limit of all uploads of this host, like `20MB/s` or `22:00-06:00 unlimited, else 20MB/s`",
    )
    disk_full_hours: _Number = Field(
        default=6.0, description="the limit is lifted when the spool's disk would be full in fewer hours"
    )
    runtime: _Folder | None = Field(
        default=None,
        description="folder through which the uploads of this host share the limit; by default `/run/yolo-assets` "
        "where that is writable, else one in the user's temporary folder",
    )

    backfill_hours: Annotated[int, Field(ge=1, le=720)] = Field(
        default=72,
        description="hours that a backfill packs into one run: a process, in a cluster a pod; fewer where many pods "
        "share the work",
    )
    keep_runs_days: Annotated[int, Field(ge=8, le=36_500)] = Field(
        default=30, description="days for which Dagster remembers runs that succeeded, and what a newer run superseded"
    )
    keep_failed_runs_days: Annotated[int, Field(ge=8, le=36_500)] = Field(
        default=90, description="days for which Dagster remembers failed runs; longer while an hour is failed by them"
    )

    @model_validator(mode="before")
    @classmethod
    def _folders_in_the_home(cls, values: Any) -> Any:
        """Fill in the locations that depend on the home."""
        written = values.get("home") or "var"
        try:
            home = location_folder(written).absolute()
        except UsageError:
            return {**values, "home": written}  # its own validation says what is wrong
        given = {name: value for name, value in values.items() if name != "home"}
        for field, variable, default in (
            ("spool", f"{PREFIX}SPOOL", home / "spool"),
            ("archive_url", f"{PREFIX}ARCHIVE", (home / "archive").as_uri()),
            ("store_url", f"{PREFIX}STORE", (home / "store").as_uri()),
            ("plant", f"{PREFIX}PLANT", home / PLANT_FILE),
        ):
            if field not in given and variable not in given:
                given[field] = default
        return {"home": home, **given}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments alone: an environment must not change settings that were built by hand."""
        return (init_settings,)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """From ``YOLO_ASSETS_*``, by default of this process.

        Raises:
            UsageError: a variable has a value that is not valid; the message names the variable.
        """
        source = EnvSettingsSource(cls)
        if environ is not None:
            source.env_vars = {name.lower(): value for name, value in environ.items() if value}
        try:
            return cls(**source())
        except ValidationError as error:
            raise UsageError("; ".join(_explained(detail) for detail in error.errors())) from None

    @property
    def keys(self) -> Path:
        """Folder of key pairs: ``archiver`` signs receipts, ``promotion`` releases, ``export`` models for others."""
        return self.home / "keys"

    @property
    def archiver_figures(self) -> Path:
        """Counters of the archiver, see ``contracts.archiver_figures``."""
        return self.home / FIGURES

    def notes_of(self, spool: Path) -> Path:
        """Where the archiver notes what it does in a spool that cannot be written; losing it costs comparing again."""
        name = hashlib.sha256(os.fsencode(spool.resolve())).hexdigest()[:16]
        return self.home / "spool-notes" / name

    @property
    def known_stores(self) -> Path:
        """Identities of the folder stores that this machine has opened, by path: see ``storage``'s mount guard."""
        return self.home / "known-stores"

    @property
    def known_archives(self) -> Path:
        """What this machine knows to be archived, by archive root: see ``archive.known``."""
        return self.home / "known-archives"

    @property
    def copying(self) -> Path:
        """Uploads under way from one archive root to another, see ``replication``."""
        return self.home / "copying"

    @property
    def archiver_key(self) -> Path:
        """Private key that signs receipts."""
        return self.keys / "archiver"

    def archiver_public_keys(self) -> list[Path]:
        """Keys that receipts may be signed with: this machine's own, and every ``.pub`` in ``<home>/keys/archivers``.

        A centre puts the public keys of its remote devices there.
        """
        return _public_keys(self.archiver_key, self.keys / "archivers")

    @property
    def promotion_key(self) -> Path:
        """Private key that signs manifests, channel pointers and enrolments; training never opens it."""
        return self.keys / "promotion"

    def promotion_public_keys(self) -> list[Path]:
        """Keys that releases and enrolments may be signed with: the present one, and those before it.

        Who replaces the key puts the old public key into ``<home>/keys/promotions``, with the time until which it
        counts.
        """
        return _public_keys(self.promotion_key, self.keys / "promotions")

    def witness_keys(self) -> list[Path]:
        """Keys of the witnesses whose word on checkpoints counts: every ``.vkey`` in ``<home>/keys/witnesses``."""
        return sorted((self.keys / "witnesses").glob("*.vkey"))

    @property
    def export_key(self) -> Path:
        """Private key that signs what ``models export --oms`` writes: P-256, which OpenSSF model signing asks for."""
        return self.keys / "export"


def variables() -> dict[str, tuple[str, str]]:
    """Every variable with its default, as a person writes it, and its description. The source of the settings table."""
    table: dict[str, tuple[str, str]] = {}
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else str(field.default).removesuffix(".0")
        table[_variable_of(name)] = (default, field.description or "")
    return table


def _public_keys(private: Path, others: Path) -> list[Path]:
    own = private.with_name(private.name + ".pub")
    return [*([own] if own.exists() else []), *sorted(others.glob("*.pub"))]


def _variable_of(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else PREFIX + name.upper()


def _explained(detail: Any) -> str:
    """One validation error as a sentence that names the variable and says what to write."""
    place = str(detail["loc"][0]) if detail["loc"] else ""
    name = _variable_of(place) if place in Settings.model_fields else place
    if detail["type"] == "location":
        return f"{name}: {detail['msg']}"
    advice = {
        "float_parsing": "is not a number",
        "finite_number": f"is out of range; give a number from 0 to {_MOST:g}",
        "literal_error": f"is not known; use {detail.get('ctx', {}).get('expected', '').replace(chr(39), '')}",
        "int_parsing": "is not a number of days; write a whole number like 180",
        "int_from_float": "is not a number of days; write a whole number like 180",
    }
    if detail["type"] in ("greater_than_equal", "less_than_equal"):
        days = name.endswith("_DAYS")
        what = "is not a number of days; write a whole number like 180" if days else advice["finite_number"]
        if days and (least := detail["ctx"].get("ge")):
            what = f"is too short; give at least {least} days"
    else:
        what = advice.get(detail["type"], f"is not valid: {detail['msg']}")
    return f"{name}={detail['input']!r} {what}"
