"""YAML as data and nothing else: mappings with text keys, lists, text, numbers, true, false and null.

No tags, no anchors and aliases, no class paths, no key twice, no numbers that only YAML 1.1 knows: `no` and `12:30:00`
are text, `1e-3` is a number, `010` is refused because readers disagree about it.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from codecsep.errors import CodecsepError

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
CLASS_KEYS = {"class_path", "init_args", "dict_kwargs", "_target_", "__class__"}
NULL, BOOL = re.compile("|~|null|Null|NULL"), re.compile("true|True|TRUE|false|False|FALSE")
INTEGER = re.compile("[-+]?(0|[1-9][0-9]{0,18})")
FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,4})?|[-+]?\.(inf|Inf|INF)")
DISPUTED = re.compile("[-+]?0[0-9_]+")  # octal for YAML 1.1, decimal for 1.2
RESOLVERS = {"null": NULL, "bool": BOOL, "int": INTEGER, "float": FLOAT}


class ConfigError(CodecsepError):
    """A mistake in a configuration or on the command line, told in one line."""


class _Loader(yaml.SafeLoader):
    """PyYAML's parser, restricted. `name`: the file, for messages."""

    yaml_implicit_resolvers: dict = {}

    def __init__(self, text: str, name: str):
        super().__init__(text)
        self.name, self.depth = name, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise self._refused(event, f"the anchor or alias '{event.anchor}'", "write the value out")
        if getattr(event, "tag", None) is not None:
            raise self._refused(event, f"the tag '{event.tag}'", "write the plain value")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._refused(event, f"more than {MAX_DEPTH} levels", "write it flatter")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.style is None and DISPUTED.fullmatch(node.value):
            raise self._refused(node, f"the number {node.value}", "leave out the leading zeros, or put it into quotes")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._refused(key, "a key that is no word", "write `key: value` lines")
            if key.value in CLASS_KEYS:
                raise self._refused(key, f"the key '{key.value}'", "name the part; classes are never named in a file")
            if key.value in seen:
                raise self._refused(key, f"the key '{key.value}' a second time", "keep one of the two")
            seen.add(key.value)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def finite(self, node: yaml.ScalarNode) -> float:
        value = self.construct_yaml_float(node)
        if math.isinf(value) and "inf" not in node.value.lower():
            raise self._refused(node, f"the number {node.value}, which is infinite", "write .inf, or a smaller number")
        return value

    def _refused(self, place: Any, what: str, fix: str) -> ConfigError:
        return ConfigError("E704", f"holds {what[:200]}", f"{self.name}:{place.start_mark.line + 1}", fix)


class _Dumper(yaml.SafeDumper):
    """Puts into quotes what this reader, or one of YAML 1.1, would take for something other than text."""

    yaml_implicit_resolvers = {first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()}


for _kind, _pattern in RESOLVERS.items():
    _whole = re.compile(f"(?:{_pattern.pattern})$")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _whole, None)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _whole, None)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"(?:{DISPUTED.pattern})$"), None)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.finite)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping. Raises ConfigError with file and line."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError("E704", f"holds more than {MAX_BYTES} bytes", path, "give a configuration, not data")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("E801", f"cannot be read ({error.strerror})", path, "give an existing YAML file") from error
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 (byte {error.start})"
        raise ConfigError("E801", what, path, "convert it with iconv -t utf-8") from error
    return parse_yaml(text, str(path))


def parse_value(text: str, name: str = "value") -> Any:
    """Whatever a YAML text holds; `name` stands in messages. Raises ConfigError."""
    try:
        return _Loader(text, name).get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError("E801", f"not valid YAML: {error}", name, "mend the file at that line") from error


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """The mapping in a YAML text; `name` stands in messages. Raises ConfigError."""
    value = parse_value(text, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        what = f"holds a {type(value).__name__}, expected `key: value` lines"
        raise ConfigError("E801", what, name, "mend the file")
    return value


def dump_yaml(values: dict[str, Any]) -> str:
    """YAML text that `parse_yaml` reads back to the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
