"""What the user, the environment and the machine set."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from bezel.errors import InvalidRequestError

Settings = TypeVar("Settings")


def default_threads() -> int:
    """$BEZEL_THREADS, else one for each processor that may be used. InvalidRequestError for what is no number."""
    asked = os.environ.get("BEZEL_THREADS", "")
    if asked and (not asked.isdigit() or not 1 <= int(asked) <= 256):
        raise InvalidRequestError(f"BEZEL_THREADS is {asked!r}; set it to a number from 1 to 256")
    return int(asked) if asked else usable_processors()


def usable_processors(root: Path = Path("/")) -> int:
    """Processors that this process may run on, at most what its control groups' quotas pay for (one at least).

    `root` is where /proc and /sys lie.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _control_groups(_text(root / "proc/self/cgroup")):
        folder = root / "sys/fs/cgroup" / group
        for path in (folder, *folder.parents):
            if not path.is_relative_to(root / "sys/fs/cgroup"):
                break
            either = (
                _text(path / "cpu.max") or f"{_text(path / 'cpu.cfs_quota_us')} {_text(path / 'cpu.cfs_period_us')}"
            )
            allowed = min(allowed, processors_of_quota(either) or allowed)
    return allowed


def processors_of_quota(text: str) -> int | None:
    """Whole processors, one at least, that "QUOTA PERIOD" pays for; None without a limit ("max", "-1", nothing)."""
    fields = text.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields) or int(fields[1]) == 0:
        return None
    return max(1, int(fields[0]) // int(fields[1]))


def _control_groups(text: str) -> list[str]:
    """Folders under /sys/fs/cgroup that may limit a process, from its /proc/self/cgroup: version 2, then version 1."""
    found = [""]
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found.append(path.lstrip("/"))
        elif "cpu" in controllers.split(","):
            found += [f"{name}/{path.lstrip('/')}" for name in dict.fromkeys((controllers, "cpu"))]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def read_settings(
    kind: type[Settings],
    section: str,
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    file: Path | None = None,
) -> Settings:
    """A frozen dataclass of settings: flags before the environment before `bezel.toml` before its defaults.

    A field `max_queue` is the flag's `max_queue`, the environment's BEZEL_MAX_QUEUE and `max_queue` of the file's
    `section`; in the environment commas stand between the items of a list. `file` None reads $BEZEL_CONFIG, or
    bezel.toml of the working directory where there is one. Raises InvalidRequestError for a name or a type that is
    wrong, and what the dataclass raises.
    """
    values = _section(file or _settings_file(environment), section)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidRequestError(f"[{section}] has no setting {unknown[0]!r}; choose from {', '.join(sorted(known))}")
    types = get_type_hints(kind)
    for name in known:
        text = environment.get(f"BEZEL_{name.upper()}")
        if text is not None:
            values[name] = _spelled(text, types[name], f"BEZEL_{name.upper()}")
    values |= {name: value for name, value in flags.items() if value is not None}
    return kind(**{name: _typed(value, types[name], name) for name, value in values.items()})


def _settings_file(environment: Mapping[str, str]) -> Path | None:
    named = environment.get("BEZEL_CONFIG")
    if named:
        return Path(named)
    return Path("bezel.toml") if Path("bezel.toml").exists() else None


def _section(file: Path | None, section: str) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        found = tomllib.loads(file.read_text("utf-8")).get(section, {})
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"{file}: cannot be read as TOML ({error})") from None
    if not isinstance(found, dict):
        raise InvalidRequestError(f"{file}: [{section}] must be a table")
    return found


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _spelled(text: str, kind: Any, name: str) -> Any:
    """What a text of the environment means for a field of a type."""
    kinds = _kinds(kind)
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if bool in kinds:
        if text.lower() not in words:
            raise InvalidRequestError(f"{name} is {text!r}; set it to true or false")
        return words[text.lower()]
    for number in (int, float):
        if number in kinds:
            try:
                return number(text)
            except ValueError:
                raise InvalidRequestError(f"{name} is {text!r}; set it to a number") from None
    return text if str in kinds else tuple(part.strip() for part in text.split(",") if part.strip())


def _typed(value: Any, kind: Any, name: str) -> Any:
    """`value` where it is of the type; lists become tuples of texts, whole numbers may be numbers."""
    kinds = _kinds(kind)
    if isinstance(value, list | tuple) and any(get_origin(each) is tuple for each in kinds):
        if all(isinstance(item, str) for item in value):
            return tuple(value)
    elif isinstance(value, bool):
        if bool in kinds:
            return value
    elif float in kinds and isinstance(value, int):
        return float(value)
    elif any(isinstance(value, each) for each in kinds if isinstance(each, type)):
        return value
    raise InvalidRequestError(
        f"{name} is {value!r}; it must be {' or '.join(getattr(k, '__name__', str(k)) for k in kinds)}"
    )
