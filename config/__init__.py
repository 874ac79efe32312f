"""What can be set, and how the layers merge: defaults <- `_BASE_` YAMLs <- the YAML <- flags <- KEY VALUE pairs."""

from config.arguments import Override, parse_arguments
from config.dump import digest, dump, explain
from config.load import freeze_with, load, load_file, load_run
from config.node import Config

__all__ = [
    "Config",
    "Override",
    "digest",
    "dump",
    "explain",
    "freeze_with",
    "load",
    "load_file",
    "load_run",
    "parse_arguments",
]
