"""Putting a checkpoint back, part by part: what does not fit is one line that says what, never half an explanation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from engine.sharding import fit
from utils.errors import UserError
from utils.states import differences


def load_parts(parts: Mapping[str, Any], state: dict[str, Any]) -> None:
    """Loads each of `parts` (name -> something with load_state_dict) from `state`; what else there is stays unused.

    Raises:
        UserError: a part is missing, or does not fit: modules are compared by names, shapes and types beforehand.
    """
    missing = [name for name in parts if name not in state]
    if missing:
        raise UserError(f"the checkpoint has no state of {', '.join(missing)}: it was written with other keys or code")
    for name, part in parts.items():
        differs = differences(part.state_dict(), state[name]) if isinstance(part, nn.Module) else ""
        if differs:
            raise UserError(f"the checkpoint's {name} does not fit: {differs}; resume with the run's own code (--code run)")
    for name, part in parts.items():
        try:
            part.load_state_dict(fit(state[name], part))
        except UserError:
            raise
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise UserError(
                f"the checkpoint's state of {name} does not fit this code ({said}); resume with --code run"
            ) from error
