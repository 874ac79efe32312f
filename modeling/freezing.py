"""Which weights of a model stay as they are, and for how long is not said here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import filter as matching

from torch import nn

from utils.errors import UserError

LOADED = "loaded"  # the pattern that means whatever MODEL.WEIGHTS filled


class Freezing:
    """The frozen part of a model.

    Args:
        patterns: fnmatch on the names of the model's parameters; `loaded` stands for all of `filled`.
        filled: names of the weights that MODEL.WEIGHTS filled.

    Attributes:
        names: of the frozen parameters.
        norms: names of the batch normalisations whose weights are all frozen: they are to keep their statistics as well,
            which is up to whoever puts the model into training mode.

    Raises:
        UserError: a pattern matches nothing, or nothing is left to train.
    """

    def __init__(self, model: nn.Module, patterns: Sequence[str], filled: Collection[str] = ()) -> None:
        names, parameters = list(model.state_dict()), dict(model.named_parameters())
        frozen: set[str] = set()
        for pattern in patterns:
            found = [n for n in names if n in filled] if pattern == LOADED else matching(names, pattern)
            if not parameters.keys() & set(found):
                raise UserError(f"MODEL.FREEZE: {_nothing(pattern, list(parameters))}")
            frozen |= set(found)
        self.names = frozenset(name for name, p in parameters.items() if name in frozen and p.requires_grad)
        self._parameters = [parameters[name] for name in sorted(self.names)]
        if len(self._parameters) == sum(p.requires_grad for p in parameters.values()):
            raise UserError(
                f"MODEL.FREEZE {list(patterns)} leaves nothing of the model to train; name fewer patterns, such as stem.*"
            )
        self.norms = tuple(
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.modules.batchnorm._NormBase) and _own(name, module) and _own(name, module) <= frozen
        )

    def __len__(self) -> int:
        """How many numbers are frozen."""
        return sum(p.numel() for p in self._parameters)

    def apply(self) -> None:
        """From now on the frozen part gets no gradient."""
        for parameter in self._parameters:
            parameter.requires_grad_(False)

    def lift(self) -> None:
        """From now on it does."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)


def _own(name: str, module: nn.Module) -> set[str]:
    """Full names of a module's own parameters, or of its buffers where it has none."""
    prefix = f"{name}." if name else ""
    own = [n for n, _ in module.named_parameters(recurse=False)] or [n for n, _ in module.named_buffers(recurse=False)]
    return {prefix + n for n in own}


def _nothing(pattern: str, names: list[str]) -> str:
    if pattern == LOADED:
        return "loaded means what MODEL.WEIGHTS fills, and it is not set"
    return f"no parameter of the model is called {pattern!r} (fnmatch; they are {', '.join(names[:4])}, ...)"
