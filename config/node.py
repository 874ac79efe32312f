"""A yacs CfgNode that is frozen all the way down, and knows where each value came from and whether anybody read it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NoReturn

from yacs.config import CfgNode

_PRIVATE = "_private"


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise AttributeError("the config is frozen: change it in the YAML or on the command line")


class FreeMapping(dict[str, Any]):
    """The value of a key whose inner names are not ours, such as SOLVER.OPTIMIZER_ARGS; never changed in place."""

    __setitem__ = __delitem__ = update = pop = popitem = setdefault = clear = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> FreeMapping:
        return FreeMapping(self)

    def __reduce__(self) -> tuple[type[FreeMapping], tuple[dict[str, Any]]]:
        return FreeMapping, (dict(self),)  # pickle, by which ranks compare their configs, would set item by item


class Config(CfgNode):
    """Keys as attributes (`cfg.SOLVER.BASE_LR`). Values are numbers, booleans, strings and tuples of them."""

    def __init__(self, init_dict: dict[str, Any] | None = None) -> None:
        super().__init__(init_dict)
        self.__dict__[_PRIVATE] = {"origins": {}, "read": set()}

    @property
    def origins(self) -> dict[str, str]:
        """Dotted key -> default, file:line, flag, command line or derived."""
        return self.__dict__[_PRIVATE]["origins"]

    @property
    def runs_folder(self) -> Path:
        """Where runs lie: OUTPUT_DIR, or exp."""
        return Path(self.OUTPUT_DIR or "exp")

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        if _PRIVATE in self.__dict__:
            self.__dict__[_PRIVATE]["read"].add(name)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if self.is_frozen():
            _refuse()
        dict.__setitem__(self, name, value)  # yacs would refuse a free mapping

    def __setitem__(self, name: str, value: Any) -> None:
        if self.__dict__.get(CfgNode.IMMUTABLE):
            _refuse()
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        self._guard()
        super().__delitem__(name)

    # Nobody changes a config so, frozen or not; yacs' own mergers know none of our checks (and run `.py` files): `config.load`
    # is the one way in.
    update = pop = popitem = setdefault = clear = _refuse
    merge_from_file = merge_from_list = merge_from_other_cfg = load_cfg = _refuse

    def _guard(self) -> None:
        if self.is_frozen():
            _refuse()

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value, in the order of defaults.py; does not count as reading."""
        pairs: dict[str, Any] = {}
        key: str
        value: Any
        for key, value in dict.items(self):
            if isinstance(value, Config):
                pairs.update({f"{key}.{inner}": v for inner, v in value.flat().items()})
            else:
                pairs[key] = copy.deepcopy(value)
        return pairs

    def unread(self) -> list[str]:
        """Keys that were set by the user and that nobody read so far."""
        return [k for k, origin in self.origins.items() if origin not in ("default", "derived") and not self._was_read(k)]

    def _was_read(self, key: str) -> bool:
        head, _, rest = key.partition(".")
        child = dict.get(self, head)
        if rest and isinstance(child, Config):
            return child._was_read(rest)
        return head in self.__dict__[_PRIVATE]["read"]

    def set_flat(self, key: str, value: Any) -> None:
        """Sets a dotted key of an unfrozen config."""
        self._guard()
        node = self
        *parents, last = key.split(".")
        for parent in parents:
            node = dict.__getitem__(node, parent)
        dict.__setitem__(node, last, value)

    def clone(self) -> Config:
        """An unfrozen copy with the same origins."""
        twin = Config()
        key: str
        value: Any
        for key, value in dict.items(self):
            dict.__setitem__(twin, key, value.clone() if isinstance(value, Config) else copy.deepcopy(value))
        twin.origins.update(self.origins)
        twin.__dict__[_PRIVATE]["read"] |= self.__dict__[_PRIVATE]["read"]
        return twin

    def __reduce__(self) -> Any:
        return (Config, (dict(self),))
