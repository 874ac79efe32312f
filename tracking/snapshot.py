"""The copy of the code: every file that git would commit or that is new and not ignored, honest about what it left out."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tracking.record import is_source
from utils.errors import UserError
from utils.files import sha256_file

LOG = logging.getLogger("fieldbook.tracking")
MAX_FILE = 2_000_000  # bytes
MAX_FILES = 5_000
MAX_TOTAL = 50_000_000  # bytes
SECRETS = (
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
    "id_rsa*",
    "id_ed25519*",
    "*.p12",
    "*.pfx",
    ".netrc",
    ".pypirc",
    ".htpasswd",
    "*.token",
    "secrets.*",
    "kaggle.json",
    "*credentials*",
)
_NOT_CODE = [".git/", ".venv/", "venv/", "__pycache__/", "/exp/", "/datasets/", "node_modules/", ".idea/", ".vscode/"]
# Digest, the copy's name, path below it. A digest that somebody made longer is no file's, but does no harm: it differs.
_LISTED = re.compile(r"([0-9a-f]{64,})  [^/]+/([^\0\udc80-\udcff]+)")
_ODD_PARTS = {"", ".", ".."}


@dataclass
class Snapshot:
    """What was copied, and what was not.

    Attributes:
        files: path below the root -> sha256.
        skipped: path -> reason.
    """

    files: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def tree_digest(self) -> str:
        """Of all that was copied."""
        return _digest(self.files)

    @property
    def code_digest(self) -> str:
        """Of the Python sources outside tests, docs and benchmarks: equal digests compute the same."""
        return code_digest(self.files)


def code_digest(files: dict[str, str]) -> str:
    """Of the sources among `files` (path -> sha256)."""
    return _digest({name: digest for name, digest in files.items() if is_source(name)})


def _digest(files: dict[str, str]) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def list_code(root: Path, leave_out: Path | None = None) -> list[str]:
    """Paths below `root`: of a run's copy, the copied list; of a git checkout, what git knows or would add; else a walk.

    Args:
        leave_out: the folder of runs, wherever it lies.
    """
    copied = root.parent / f"{root.name}.sha256"
    names = list(read_checksums(copied)) if copied.is_file() else _git_files(root) or _walk(root)
    inside = os.path.relpath(leave_out, root) if leave_out else ".."
    apart = [*_runs(names), *([] if inside.startswith("..") else [f"{inside}/"])]
    return [n for n in names if not any(f"{n}/".startswith(folder) for folder in apart)]


def take(root: Path, destination: Path | None, leave_out: Path | None = None) -> Snapshot:
    """Copies the code of `root` to `destination` (None: only reads it) and says what was copied.

    Raises:
        UserError: too many or too large files; the message names the folder to ignore.
    """
    snapshot = Snapshot()
    names = list_code(root, leave_out)
    sizes: dict[str, int] = {}
    for name in names:
        reason = _reason_to_skip(root, name, sizes)
        if reason:
            snapshot.skipped[name.encode(errors="backslashreplace").decode()] = reason
    _check_size(sizes)
    for name in sizes:
        if destination is not None:
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(root / name, target, sizes[name])
            target.chmod(0o755 if os.access(root / name, os.X_OK) else 0o644)
        snapshot.files[name] = sha256_file(target if destination is not None else root / name)
    return snapshot


def checksum_lines(snapshot: Snapshot, folder: str) -> str:
    """What `sha256sum -c` reads, for a copy in `folder` beside the list."""
    return "".join(f"{digest}  {folder}/{name}\n" for name, digest in sorted(snapshot.files.items()))


def read_checksums(path: Path) -> dict[str, str]:
    """Path below the copied root -> sha256, as written by `checksum_lines`; empty where there is no such file.

    A list may come with a record of somebody else's: lines whose path leads out of the copied root count as absent.
    """
    try:
        lines = path.read_bytes().decode(errors="surrogateescape").split("\n")
    except OSError:
        return {}
    found = (_LISTED.fullmatch(line) for line in lines)
    return {match[2]: match[1] for match in found if match and not _ODD_PARTS & set(match[2].split("/"))}


def edited(root: Path, files: dict[str, str]) -> dict[str, list[str]]:
    """Which of the copied files (path -> sha256) are not in `root` as they were; {} where all are."""
    found: dict[str, list[str]] = {}
    for name, digest in files.items():
        try:
            if sha256_file(root / name) != digest:
                found.setdefault("changed", []).append(name)
        except OSError:
            found.setdefault("removed", []).append(name)
    return found


def compare(old: dict[str, str], new: dict[str, str]) -> dict[str, list[str]]:
    """Which files were added, removed and changed from `old` to `new` (path -> sha256)."""
    return {
        "added": sorted(set(new) - set(old)),
        "removed": sorted(set(old) - set(new)),
        "changed": sorted(name for name in old if name in new and old[name] != new[name]),
    }


def _copy(source: Path, target: Path, size: int) -> None:
    """Copies in the kernel: file systems that can (btrfs, XFS) share the blocks until one side is changed."""
    try:
        with open(source, "rb") as old, open(target, "wb") as new:
            while size > 0 and (copied := os.copy_file_range(old.fileno(), new.fileno(), size)):
                size -= copied
    except (OSError, AttributeError):  # not on this system, or not between these file systems
        size = -1
    if size:
        shutil.copyfile(source, target)


def _reason_to_skip(root: Path, name: str, sizes: dict[str, int]) -> str:
    """Why a file is left out, or "" after noting its size."""
    path = root / name
    if "\n" in name or any("\udc80" <= letter <= "\udcff" for letter in name):
        return "a name that the list of copied files cannot hold"
    try:
        info = path.lstat()
    except OSError:
        return "" if not path.exists() else "cannot be read"  # deleted, but not yet in git's eyes
    if any(fnmatch.fnmatch(path.name.lower(), pattern) for pattern in SECRETS):
        return "looks like a secret"
    if stat.S_ISLNK(info.st_mode):
        target = path.resolve()
        if not target.is_file() or root.resolve() not in target.parents:
            return "a link out of the tree"
        info = target.stat()
    if not stat.S_ISREG(info.st_mode):
        return "no regular file (a submodule, or a folder of its own)"
    if info.st_size > MAX_FILE:
        return f"{info.st_size / 1e6:.1f} MB: over {MAX_FILE / 1e6:.0f} MB"
    if not os.access(path, os.R_OK):
        return "cannot be read"
    sizes[name] = info.st_size
    return ""


def _check_size(sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    if len(sizes) <= MAX_FILES and total <= MAX_TOTAL:
        return
    weight: dict[str, int] = {}
    for name, size in sizes.items():
        folder = name.partition("/")[0] if "/" in name else "."
        weight[folder] = weight.get(folder, 0) + (size if total > MAX_TOTAL else 1)
    heaviest = max(weight, key=lambda folder: weight[folder])
    raise UserError(
        f"the code to copy is {len(sizes)} files and {total / 1e6:.0f} MB (at most {MAX_FILES} and {MAX_TOTAL / 1e6:.0f} MB): "
        f"most of it lies in {heaviest!r}; add that folder to .gitignore"
    )


def _runs(names: list[str]) -> list[str]:
    """The folders of runs, and the index and trash beside them: records of other runs are no code, wherever they lie."""
    known = set(names)
    runs = {os.path.dirname(n) for n in names if n.endswith("/run.json") and f"{os.path.dirname(n)}/status.json" in known}
    beside = {os.path.dirname(run) for run in runs}
    return [f"{run}/" for run in runs] + [os.path.join(folder, ".") for folder in beside if folder]


def _git_files(root: Path) -> list[str]:
    """Tracked and new files, if `root` is the top of a checkout (a folder inside another project's is not)."""
    command = ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"]
    if not (root / ".git").exists():
        return []
    try:
        output = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode(errors="replace").strip().split("\n")[0]
        LOG.warning("git cannot list the files of %s (%s); .gitignore files decide what is copied", root, said or error)
        return []
    return sorted(set(filter(None, output.decode(errors="surrogateescape").split("\0"))))


def _walk(root: Path) -> list[str]:
    """All files but for what is never code and what the tree's .gitignore files name."""
    from pathspec import GitIgnoreSpec  # only needed where git is not

    specs = [("", GitIgnoreSpec.from_lines(_NOT_CODE))]
    found = []
    for folder, folders, files in os.walk(root):
        inside = "" if Path(folder) == root else os.path.relpath(folder, root).replace(os.sep, "/") + "/"
        if ".gitignore" in files:
            lines = (Path(folder) / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
            specs.append((inside, GitIgnoreSpec.from_lines(lines)))

        def ignored(name: str, inside: str = inside) -> bool:
            path, verdict = inside + name, False
            for top, spec in specs:  # the deepest file that says something decides, as in git
                said = spec.check_file(path.removeprefix(top)).include if path.startswith(top) else None
                verdict = verdict if said is None else said
            return verdict

        folders[:] = [name for name in folders if not ignored(f"{name}/")]
        found += [inside + name for name in files if not ignored(name)]
    return sorted(found)
