"""YAML as people mean it: `1e-3` is a number, a key given twice is an error, nothing in a file can run code.

PyYAML reads YAML 1.1 (`1e-3` a string, `1:30` ninety, `010` eight, `on` true, dates as objects; measured traps). This
loader reads numbers and booleans as YAML 1.2 does and leaves the rest as strings, and it keeps the line of each key.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from utils import full_width
from utils.errors import UserError

MAX_BYTES = 200_000
MAX_DEPTH = 20
MAX_NODES = 100_000


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars only."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
_OCTAL_LIKE = re.compile(r"^[-+]?0[0-9]+$")


def read_yaml(text: str, source: str) -> dict[str, tuple[Any, str]]:
    """A YAML mapping as `{dotted key: (plain value, "source:line")}`.

    Raises:
        UserError: no valid YAML, too large or deep, a tag, a key given twice or that is no string, a null.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise UserError(f"{source}: larger than {MAX_BYTES} bytes; this is no config")
    _check_depth(text, source)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        near = "".join(text.splitlines()[max(mark.line - 1, 0) : mark.line + 1]) if mark else ""
        raise UserError(f"{where}: no valid YAML: {problem}{full_width.hint(near)}") from error
    except (RecursionError, ValueError) as error:
        raise UserError(f"{source}: no valid YAML: {' '.join(str(error).split())}") from error
    if node is None:
        return {}
    if not isinstance(node, MappingNode):
        hint = full_width.hint(text)
        raise UserError(f"{source}:1: a config is a mapping of keys to values, this is something else{hint}")
    pairs: dict[str, tuple[Any, str]] = {}
    _flatten(node, "", source, pairs)
    return pairs


def read_value(text: str, source: str) -> Any:
    """One value as it stands on the command line: a YAML scalar, list or mapping; `yes` or `007` stay strings."""
    try:
        node = yaml.compose(text, Loader=_Loader) if len(text) < MAX_BYTES and not _too_deep(text) else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    if node is None or isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return text
    return _plain(node, source, [0])


def _flatten(node: MappingNode, prefix: str, source: str, pairs: dict[str, tuple[Any, str]]) -> None:
    """Sections are upper-case names with a mapping below; `config.load` decides what is a key of ours."""
    seen: set[str] = set()
    for key_node, value_node in node.value:
        where = f"{source}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
            raise UserError(f"{where}: a key is a name, got {getattr(key_node, 'value', key_node.id)!r}")
        if wrong := full_width.hint(key_node.value):
            raise UserError(f"{where}: a key is a name, got {key_node.value!r}{wrong}")
        key = prefix + key_node.value
        if key in seen:
            raise UserError(f"{where}: {key} is given twice in this file; keep one")
        seen.add(key)
        if isinstance(value_node, MappingNode) and not value_node.tag.startswith("!") and "." not in key:
            pairs[key] = (MappingNode, where)
            if len(pairs) < MAX_NODES:
                _flatten(value_node, f"{key}.", source, pairs)
        else:
            pairs[key] = (_plain(value_node, where, [0]), where)


def _plain(node: Node, where: str, count: list[int], above: tuple[Node, ...] = ()) -> Any:
    """Plain Python of a node; an alias that expands to more than MAX_NODES values, or to itself, is refused."""
    count[0] += 1
    if any(node is other for other in above):
        raise UserError(f"{where}: an alias that contains itself; this is no config")
    if count[0] > MAX_NODES:
        raise UserError(f"{where}: expands to more than {MAX_NODES} values; this is no config")
    if node.tag.startswith("!") or "python" in node.tag:
        raise UserError(f"{where}: the tag {node.tag} is not allowed; give a plain value")
    if isinstance(node, SequenceNode):
        return [_plain(child, where, count, (*above, node)) for child in node.value]
    if isinstance(node, MappingNode):
        inside = (*above, node)
        for key, value in node.value:
            if value.tag == "tag:yaml.org,2002:null" and (wrong := full_width.hint(str(key.value))):
                raise UserError(f"{where}: {key.value!r} has no value{wrong}")
        return {str(_plain(k, where, count, inside)): _plain(v, where, count, inside) for k, v in node.value}
    assert isinstance(node, ScalarNode)
    return _scalar(node, where)


def _scalar(node: ScalarNode, where: str) -> Any:
    kind, text = node.tag.rsplit(":", 1)[-1], node.value
    if kind == "null":
        raise UserError(f'{where}: null fits no key; unused is 0, "" or []')
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        if len(text) > 18:
            raise UserError(f"{where}: {text[:20]}... is too large a number")
        return int(text)
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if node.style is None and _OCTAL_LIKE.match(text):
        raise UserError(f"{where}: {text} is octal to some and decimal to others; write it without the leading zero")
    return text


def _check_depth(text: str, source: str) -> None:
    if _too_deep(text):
        raise UserError(f"{source}: nested deeper than {MAX_DEPTH} levels; this is no config")


def _too_deep(text: str) -> bool:
    """Found without recursion: brackets, and the number of distinct indentations, bound the depth from above."""
    depth = deepest = 0
    for character in text:
        depth += (character in "[{") - (character in "]}" and depth > 0)
        deepest = max(deepest, depth)
    indents = {len(line) - len(line.lstrip(" ")) for line in text.splitlines() if line.strip()}
    dashes = max((len(re.match(r"(?:[-?:] )*", line.lstrip())[0]) // 2 for line in text.splitlines()), default=0)  # type: ignore[index]
    return deepest > MAX_DEPTH or len(indents) > 3 * MAX_DEPTH or dashes > MAX_DEPTH
