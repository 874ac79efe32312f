"""The order of the pages in mkdocs.yml: sections are folders or lists, and a page's title is its first heading."""

from __future__ import annotations

import re
from pathlib import Path

BEGIN, END = "# nav: written by `python -m docs.make`, in the order of docs/make/nav.py", "# end of nav"

# Section -> pages below docs/; a name that ends in / is a folder: its known pages in this order, then the others by name.
SECTIONS = {
    "Start": ["index.md", "guide.md"],
    "How to": ["howto/"],
    "Topics": [
        "training.md", "survive.md", "records.md", "analysis.md", "recipes.md", "retrieval.md", "datasets.md", "omniglot.md",
        "sweeps.md", "shards.md", "ranks.md", "gpu.md", "slurm.md", "report.md", "shipping.md",
        "mirrors.md", "completion.md", "fork.md",
    ],
    "Evidence": ["performance.md", "reliability.md", "tracking.md", "scaling.md", "comparison.md"],
    "Coming from": ["from/"],
    "Reference": ["reference/"],
    "中文": ["zh.md"],
}  # fmt: skip
ORDER = [
    "faster", "own-data", "own-model", "own-loss", "own-metric", "own-loop", "multi-label", "segmentation",
    "two-optimizers", "notebook", "platforms",
    "classic-template", "lightning", "timm", "detectron2",
    "config", "commands", "components", "record", "api",
]  # fmt: skip


def with_nav(root: Path) -> str:
    """mkdocs.yml with the pages that there are now between its two marks."""
    docs, text = root / "docs", (root / "mkdocs.yml").read_text(encoding="utf-8")
    lines = ["nav:"]
    for section, names in sections(docs).items():
        lines += [f'  - "{section}":', *(f'      - "{title_of(docs / name)}": {name}' for name in names)]
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}"


def sections(docs: Path) -> dict[str, list[str]]:
    """The pages of each section that has some; those that no section names stand under Topics, so that none is lost."""
    known = {section: [page for name in names for page in _pages(docs, name)] for section, names in SECTIONS.items()}
    named = {page for pages in known.values() for page in pages}
    known["Topics"] += [page for path in sorted(docs.rglob("*.md")) if (page := path.relative_to(docs).as_posix()) not in named]
    return {section: pages for section, pages in known.items() if pages}


def _pages(docs: Path, name: str) -> list[str]:
    if not name.endswith("/"):
        return [name] if (docs / name).is_file() else []
    rank = {stem: i for i, stem in enumerate(ORDER)}
    found = sorted((docs / name).glob("*.md"), key=lambda path: (rank.get(path.stem, len(rank)), path.stem))
    return [path.relative_to(docs).as_posix() for path in found]


def title_of(path: Path) -> str:
    """The first heading of a page, without marks of code."""
    found = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return (found[1] if found else path.stem).replace("`", "").replace('"', "'")
