"""What happens beside the loop, one file a hook.

A hook of your own is a file in this folder that registers a factory `hook(**facts) -> Hook` and a line in HOOKS of the
YAML; it stands after validation and before the checkpoints, which so hold its newest state.
"""

from engine.hooks.base import Hook
from utils.registry import Registry

HOOKS = Registry("hook", "engine.hooks")

__all__ = ["HOOKS", "Hook"]
