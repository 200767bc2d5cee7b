"""Where configuration comes from: defaults, then `kaizen.toml`, then `KAIZEN_*`, then what the caller overrides.

Every value keeps its origin, so that `kaizen config` can say where it was set and an error can say what to mend.
Values are checked one by one, strictly: a file's `"8420"` is not a port and its `true` is not a number.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from kaizen.config import Section, Settings
from kaizen.errors import ConfigError, UnknownField

FILE_NAME = "kaizen.toml"
PREFIX = "KAIZEN_"
RESERVED = frozenset({"KAIZEN_CONFIG", "KAIZEN_API_KEY", "KAIZEN_URL"})
UNSAFE_VARIABLES = ("RAY_DATA_AUTOLOAD_", "RAY_DATA_WEBDATASET_ALLOW_UNSAFE_DESERIALIZATION")
UNITS = ("seconds", "hours", "bytes", "tokens", "rows", "cpus", "chunks", "threads", "requests", "documents")
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):([^@/\s]*)@")
_SECRET_PARAMETER = re.compile(r"(?i)\b((?:password|passwd|secret|token|api_?key)=)[^&\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where one value was set. `where` is empty, `path:line`, a variable's name, or an option's name."""

    kind: Literal["default", "file", "environment", "override"]
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The configuration in force. `origins` has every `section.field`; `path` is the file that was read, if any."""

    settings: Settings
    origins: Mapping[str, Origin]
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """One value as a source gave it; `text` values are still to be parsed."""

    value: Any
    text: bool
    origin: Origin


def load_settings(
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read the configuration.

    Args:
        path: the file to read; else `$KAIZEN_CONFIG`, else `./kaizen.toml` if there is one, else none.
        environ: variables; `KAIZEN_<SECTION>_<FIELD>` sets a value, any other `KAIZEN_*` is refused.
        overrides: `section.field` to value; wins over everything.

    Relative paths in the file (and the default workspace, when there is a file) are relative to the file's folder,
    other ones to the current directory, so the settings mean the same in every process.

    Raises:
        UnknownField: a section, key or variable that does not exist, with the nearest name that does.
        ConfigError: the file cannot be read, or a value has the wrong type or range.
    """
    file = _find_file(path, environ)
    given = dict(_from_file(file)) if file else {}
    given |= _from_overrides({k: v for k, v in (overrides or {}).items() if k in _EXEMPTING})
    given |= _from_environment(environ, _exempt(given, environ))
    given |= _from_overrides(overrides or {})
    values = {name: _parse(name, item) for name, item in given.items()}
    settings = _build(values, given)
    origins = {name: given[name].origin if name in given else Origin(kind="default") for name in fields()}
    return Loaded(settings=_anchor(settings, origins, file), origins=origins, path=file)


def fields() -> dict[str, FieldInfo]:
    """Return every `section.field` of the model, in its order."""
    return {
        f"{section}.{name}": info for section, model in sections().items() for name, info in model.model_fields.items()
    }


def sections() -> dict[str, type[Section]]:
    """Return the section models by name."""
    return {
        name: info.annotation
        for name, info in Settings.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
    }


def variable_of(name: str) -> str:
    """Return the environment variable that sets `section.field`."""
    return PREFIX + name.replace(".", "_").upper()


def mask_secrets(text: str) -> str:
    """Return `text` with passwords in URLs and secret query parameters replaced by `***`."""
    return _SECRET_PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def check_environment(environ: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigError if a variable is set that lets data files run code in Ray Data."""
    found = sorted(name for name in environ if name.startswith(UNSAFE_VARIABLES))
    if found:
        raise ConfigError(
            f"{', '.join(found)} is set: it lets data that is read run code.",
            advice=f"Run `unset {' '.join(found)}` and start again.",
        )


# ---------------------------------------------------------------------------------------------- the sources

_EXEMPTING = ("generator.api_key_env",)


def _find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or (Path(environ["KAIZEN_CONFIG"]) if environ.get("KAIZEN_CONFIG") else None)
    if named is None:
        default = Path(FILE_NAME).absolute()
        return default if default.is_file() else None
    named = _expanded("KAIZEN_CONFIG" if path is None else "--config", named).absolute()
    if not named.is_file():
        raise ConfigError(f"There is no configuration file at {named}.", advice="Mend --config or KAIZEN_CONFIG.")
    return named


def _from_file(path: Path) -> Iterator[tuple[str, _Given]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # bad bytes, bad TOML, endless numbers, endless nesting
        raise ConfigError(f"{path} cannot be read as TOML: {error}.", advice="Mend the file.") from error
    lines = _lines(text)
    known = sections()
    for section, body in content.items():
        where = f"{path}:{lines.get(section, 1)}"
        if section not in known:
            raise _unknown_section(section, where)
        if not isinstance(body, dict):
            raise ConfigError(f"{where}: {section} must be a table.", advice=f"Write it as [{section}].")
        for field, value in body.items():
            name = f"{section}.{field}"
            origin = Origin(kind="file", where=f"{path}:{lines.get(name, lines.get(section, 1))}")
            if name not in fields():
                raise _unknown_key(name, str(origin))
            yield name, _Given(value=value, text=False, origin=origin)


def _from_environment(environ: Mapping[str, str], exempt: frozenset[str]) -> dict[str, _Given]:
    names = {variable_of(name): name for name in fields()}
    given = {}
    for variable in sorted(v for v in environ if v.startswith(PREFIX) and v not in exempt):
        if variable not in names:
            raise _unknown_variable(variable, [*names, *RESERVED])
        origin = Origin(kind="environment", where=variable)
        given[names[variable]] = _Given(value=environ[variable], text=True, origin=origin)
    return given


def _exempt(given: Mapping[str, _Given], environ: Mapping[str, str]) -> frozenset[str]:
    """Names that are not settings: the reserved ones, and the variable that the user says holds a key."""
    named = {str(given[name].value) for name in _EXEMPTING if name in given}
    named |= {environ.get(variable_of(name), "") for name in _EXEMPTING}
    return RESERVED | named


def _from_overrides(overrides: Mapping[str, Any]) -> dict[str, _Given]:
    for name in overrides:
        if name not in fields():
            raise _unknown_key(name, "override")
    return {
        name: _Given(value=value, text=isinstance(value, str), origin=Origin(kind="override"))
        for name, value in overrides.items()
    }


def _lines(text: str) -> dict[str, int]:
    """Return the line (from 1) on which each `section` or `section.field` of a TOML text is set.

    tomllib keeps no positions. A line inside a multi-line string can be mistaken for a key, which only a wrong
    line number in a message would show.
    """
    found: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w\-\"'.]+)\s*\]", line):
            section = header[1].strip("\"'")
            found.setdefault(section, number)
        elif key := re.match(r"\s*([\w\-\"'.]+)\s*=", line):
            name = key[1].strip("\"'")
            found.setdefault(f"{section}.{name}" if section else name, number)
            found.setdefault(section or name.split(".")[0], number)
    return found


# ---------------------------------------------------------------------------------------------- values


def _parse(name: str, given: _Given) -> object:
    info = fields()[name]
    annotation: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    adapter: TypeAdapter[object] = TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))
    try:
        if given.text:
            return adapter.validate_strings(given.value)
        # JSON mode: strict about numbers and booleans, yet a string may be a path and an array a tuple.
        return adapter.validate_json(json.dumps(given.value, default=str), strict=True)
    except ValidationError as error:
        raise _bad_value(name, given, error) from error


def _bad_value(name: str, given: _Given, error: ValidationError) -> ConfigError:
    reason = error.errors(include_url=False, include_input=False)[0]["msg"]
    shown = mask_secrets(str(given.value))
    return ConfigError(
        f"{given.origin}: {name} = {shown!r} is not valid: {reason}.",
        advice=f"It takes {expected(fields()[name], name)}.",
    )


def expected(info: FieldInfo, name: str) -> str:
    """Return what a field takes, in words: its type, its bounds, its unit."""
    kind = getattr(info.annotation, "__name__", "") if isinstance(info.annotation, type) else str(info.annotation)
    kind = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "Path": "a path"}.get(
        kind, kind.replace("typing.", "").replace("int | None", "a whole number")
    )
    if kind.startswith("Literal["):
        kind = "one of " + kind.removeprefix("Literal[").removesuffix("]").replace("'", "")
    unit = next((u for u in UNITS if name.endswith(u)), "")
    measured = f"{kind} of {unit}" if unit and "number" in kind else kind
    return " ".join([measured, " and ".join(_bounds(info))]).strip()


def _bounds(info: FieldInfo) -> list[str]:
    words = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return [
        f"{sign} {getattr(item, attribute)}"
        for item in info.metadata
        for attribute, sign in words.items()
        if getattr(item, attribute, None) is not None
    ]


def _build(values: Mapping[str, Any], given: Mapping[str, _Given]) -> Settings:
    """Make the model; here only rules that join several fields of a section can still fail."""
    body: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, field = name.split(".")
        body.setdefault(section, {})[field] = value
    try:
        return Settings.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        section = str(first["loc"][0])
        where = ", ".join(str(item.origin) for name, item in given.items() if name.startswith(f"{section}."))
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: [{section}]: {reason}.", advice="Change one of these values.") from error


def _anchor(settings: Settings, origins: Mapping[str, Origin], file: Path | None) -> Settings:
    """Make relative paths absolute, so that a process with another current directory reads them alike."""

    def base(name: str) -> Path:
        from_file = origins[name].kind in ("file", "default")
        return file.parent if file and from_file else Path.cwd()

    def absolute(name: str, path: str) -> str:
        return os.path.normpath(base(name) / _expanded(str(origins[name]), Path(path)))

    workspace = settings.workspace.directory
    changes: dict[str, dict[str, Any]] = {
        "workspace": {"directory": Path(absolute("workspace.directory", str(workspace)))},
    }
    uri, model, url = settings.objects.uri, settings.embedder.model, settings.ledger.url
    if uri and "://" not in uri:
        changes["objects"] = {"uri": absolute("objects.uri", uri)}
    if not model.startswith("package:"):
        changes["embedder"] = {"model": absolute("embedder.model", model)}
    generator = settings.generator
    if generator.kind in ("llama_cpp", "transformers") and not generator.model.startswith("package:"):
        changes["generator"] = {"model": absolute("generator.model", generator.model)}
    if relative := re.fullmatch(r"sqlite:///(?![/:])(.+)", url):
        changes["ledger"] = {"url": f"sqlite:///{absolute('ledger.url', relative[1])}"}
    return settings.model_copy(
        update={section: getattr(settings, section).model_copy(update=update) for section, update in changes.items()}
    )


def _expanded(origin: str, path: Path) -> Path:
    """Return `path` with `~` and `~user` resolved; raise ConfigError for one that no system call takes."""
    if "\0" in str(path):
        raise ConfigError(f"{origin}: a path has a NUL character.", advice="Write it without.")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{origin}: {path.parts[0]} is nobody's home.", advice="Write the path in full.") from error


# ---------------------------------------------------------------------------------------------- refusals


def _nearest(name: str, names: list[str]) -> str:
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return found[0] if found else ""


def _unknown_section(section: str, where: str) -> UnknownField:
    nearest = _nearest(section, list(sections()))
    advice = f"Did you mean [{nearest}]?" if nearest else f"The sections are {', '.join(sections())}."
    return UnknownField(f"{where}: there is no section [{section}].", advice=advice)


def _unknown_key(name: str, where: str) -> UnknownField:
    section, _, field = name.rpartition(".")
    elsewhere = [other for other in fields() if other.endswith(f".{field}")]
    siblings = [other.removeprefix(f"{section}.") for other in fields() if other.startswith(f"{section}.")]
    near = _nearest(field, siblings)
    found = elsewhere[0] if elsewhere else f"{section}.{near}" if near else _nearest(name, list(fields()))
    advice = f"Did you mean {found}?" if found else "`kaizen config --reference` lists all keys."
    return UnknownField(f"{where}: there is no key {name}.", advice=advice)


def _unknown_variable(variable: str, names: list[str]) -> UnknownField:
    nearest = _nearest(variable.upper(), names)
    advice = f"Did you mean {nearest}?" if nearest else "`kaizen config --reference` lists all variables."
    return UnknownField(f"There is no setting for the variable {variable}.", advice=f"{advice} Else unset it.")
