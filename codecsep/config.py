"""Configuration: typed dataclasses, filled from a YAML file and from `--a.b value` on the command line.

Types are checked by jsonargparse; this file adds what it does not say: which file an unknown key stands in and which
known key is nearest. It also holds what every command in `bin/` shares: an argument parser whose errors are one line.
It knows no model: a model is a module found by its name, and the type of `network` is that module's `Config`.
"""

import argparse
import dataclasses
import difflib
import functools
import hashlib
import importlib
import io
import json
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from codecsep.errors import CodecsepError
from codecsep.plain_yaml import ConfigError, dump_yaml, parse_value, read_yaml

T = TypeVar("T")
COMMAND_LINE = "command line"


def load(cls: type[T], path: Path | None = None, overrides: Sequence[str] = ()) -> T:
    """Fill the dataclass `cls` (nested dataclasses allowed): defaults, then the file, then the overrides.

    Args:
        overrides: such as ["--optim.lr", "1e-4"] or ["--optim.lr=1e-4"].
    Raises ConfigError naming the key, the nearest known key and where it was given.
    """
    given = read_yaml(path) if path is not None else {}
    check_keys(cls, given, str(path))
    from_user = parse_overrides(overrides)
    check_keys(cls, from_user, COMMAND_LINE)
    return build(cls, merge(given, from_user), str(path or COMMAND_LINE))


def load_model_config(cls: type[T], path: Path | None, overrides: Sequence[str] = ()) -> T:
    """Like `load`, for a `cls` with the key `model`: the result also has `network`, of that model's own `Config`."""
    given, from_user = (read_yaml(path) if path is not None else {}), parse_overrides(overrides)
    name = from_user.get("model", given.get("model"))
    if not name:
        fix = f"set it to one of {', '.join(_model_names())}"
        raise ConfigError("E805", "the key 'model' is missing", path or COMMAND_LINE, fix)
    network = find_model(str(name)).Config
    field = ("network", network, dataclasses.field(default_factory=network))
    return load(dataclasses.make_dataclass(cls.__name__, [field], bases=(cls,), kw_only=True), path, overrides)


def find_model(name: str) -> ModuleType:
    """The module of a model: `slm_ss` is codecsep/models/slm_ss.py, `codecs.mini_training` that file of codecsep/."""
    address = name if "." in name else f"models.{name}"
    known = f"known: {', '.join(_model_names())}"
    file = Path(__file__).parent / f"{address.replace('.', '/')}.py"
    if not re.fullmatch(r"[a-z]\w*\.[a-z]\w*", address) or not file.is_file():
        raise ConfigError("E806", f"unknown model '{name}'{_nearest(name, _model_names())}", "", known)
    module = importlib.import_module(f"codecsep.{address}")
    if not hasattr(module, "Config") or not hasattr(module, "Model"):
        raise ConfigError("E806", f"'{name}' is no model: {module.__file__} has no Config and Model", "", known)
    return module


def _model_names() -> list[str]:
    return sorted(p.stem for p in Path(__file__).parent.glob("models/*.py") if p.stem not in ("__init__", "base"))


def build(cls: type[T], values: Mapping[str, Any], origin: str) -> T:
    """The dataclass `cls` filled from nested values, every value checked against its type (ConfigError)."""
    from jsonargparse import ArgumentError, ArgumentParser, set_loader

    set_loader("plain", lambda text: parse_value(text), (ConfigError,))  # text in a value is data too
    parser = ArgumentParser(exit_on_error=False, parser_mode="plain")
    parser.add_class_arguments(cls)
    try:
        namespace = parser.instantiate(parser.parse_object(dict(values)))
        made = cls(**{field.name: getattr(namespace, field.name) for field in dataclasses.fields(cls)})
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError("E803", str(error), origin, "give a value of that type and range") from error
    if key := _misplaced_null(made):
        raise ConfigError("E803", f"'{key}' is null", origin, "give it a value, or leave the key out")
    return made


def _misplaced_null(instance: Any, prefix: str = "") -> str | None:
    """The first key whose value is None although its type has no None (jsonargparse lets it pass)."""
    hints = typing.get_type_hints(type(instance))
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if value is None and type(None) not in (*typing.get_args(hints[field.name]), hints[field.name]):
            return prefix + field.name
        if dataclasses.is_dataclass(value) and (found := _misplaced_null(value, f"{prefix}{field.name}.")):
            return found
    return None


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """["--optim.lr", "1e-4", "--model=x"] -> {"optim": {"lr": "1e-4"}, "model": "x"}; types are checked later."""
    result: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("--") or len(flag) == 2:
            raise ConfigError("E804", f"'{flag}' is not understood", COMMAND_LINE, "set values by `--key value`")
        if not equals:
            if not rest:
                raise ConfigError("E804", f"{flag} has no value", COMMAND_LINE, f"write `{flag} value`")
            value = rest.pop(0)
        *sections, key = flag[2:].split(".")
        target = result
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                what = f"{flag} contradicts an earlier value of '{section}'"
                raise ConfigError("E804", what, COMMAND_LINE, "give only one of the two")
        target[key] = value
    return result


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `top` laid over it, section by section."""
    result = dict(base)
    for key, value in top.items():
        below = result.get(key)
        result[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def check_keys(cls: type, values: Any, origin: str, prefix: str = "") -> None:
    """Refuse keys that the dataclass `cls` does not have (ConfigError with the nearest known key)."""
    if not isinstance(values, Mapping):
        what = f"'{prefix.rstrip('.')}' is {values!r}, expected a section of `key: value` lines"
        raise ConfigError("E803", what, origin, "write its keys below it, indented")
    hints = typing.get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]
    for key, value in values.items():
        if key not in known:
            every = [prefix + name for name in known]
            what = f"unknown key '{prefix}{key}'{_nearest(f'{prefix}{key}', every)}"
            raise ConfigError("E802", what, origin, f"known here: {', '.join(known)}")
        for inner, part in _sections(hints[key], value):
            check_keys(inner, part, origin, f"{prefix}{key}.")


def _sections(hint: Any, value: Any) -> Iterator[tuple[type, Any]]:
    """The parts of a value that are dataclasses by type: the value itself, or the items of a list of them."""
    arguments = [argument for argument in typing.get_args(hint) if dataclasses.is_dataclass(argument)]
    if dataclasses.is_dataclass(hint):
        yield hint, value
    elif arguments and isinstance(value, list):
        yield from ((arguments[0], item) for item in value)
    elif arguments and isinstance(value, Mapping):
        yield arguments[0], value


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (nearest: '{close[0]}')" if close else ""


def to_dict(instance: Any) -> dict[str, Any]:
    """Nested plain values of a dataclass (tuples and paths as YAML can hold them)."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return plain(dataclasses.asdict(instance))


def dump(instance: Any) -> str:
    """YAML text of a dataclass; `load` reads it back to an equal instance."""
    return dump_yaml(to_dict(instance))


def fingerprint(instance: Any) -> str:
    """SHA-256 (hex) of the values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(to_dict(instance), sort_keys=True).encode()).hexdigest()


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optim": {"lr": 1}} -> {"optim.lr": 1}, for comparing two configurations key by key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, name + ".") if isinstance(value, Mapping) else {name: value})
    return flat


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one line and exit 2."""

    def error(self, message: str) -> typing.NoReturn:
        error = ConfigError("E804", message, COMMAND_LINE, f"see `{self.prog} --help`")
        self.exit(2, f"{self.prog}: {error}\n")


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """The parser of a command: add its own flags; `--config FILE` is there. Use with `parse`."""
    result = _Parser(prog=prog, description=description, allow_abbrev=False)
    result.add_argument("--config", type=Path, help="YAML file; any key of it can be overridden: --section.key value")
    return result


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The command's own flags, and the rest: overrides of configuration keys for `load`."""
    return parser.parse_known_args(argv)


def is_for_user(error: Exception) -> bool:
    """True for OSError and CodecsepError; anything else is a bug of ours."""
    return isinstance(error, (OSError, CodecsepError))


def told(error: Exception) -> str:
    """An error that is meant for the user, in one line; what the operating system refuses gets a code too."""
    if isinstance(error, OSError) and not isinstance(error, CodecsepError):
        fix = "check the path, its permissions, and that the disk and the network answer"
        error = CodecsepError("E903", error.strerror or str(error) or type(error).__name__, error.filename or "", fix)
    return " ".join(str(error).split())


def command(prog: str) -> Callable[[Callable[..., int | None]], Callable[..., int]]:
    """Decorator of a `main`: an error that is meant for the user becomes one line on stderr and exit status 2.

    What `is_for_user` refuses keeps its traceback. Returns the status, so that `sys.exit(main())` ends the process.
    """

    def decorate(main: Callable[..., int | None]) -> Callable[..., int]:
        @functools.wraps(main)
        def wrapped(*arguments: Any) -> int:
            if isinstance(sys.stdout, io.TextIOWrapper):  # in LC_ALL=C too a result with "±" is no reason to fail
                sys.stdout.reconfigure(errors="backslashreplace")
            try:
                return main(*arguments) or 0
            except Exception as error:
                if not is_for_user(error):
                    raise
                print(f"{prog}: {told(error)}", file=sys.stderr)
                return 2

        return wrapped

    return decorate
