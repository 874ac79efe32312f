"""The fault campaign: training runs are killed, stopped and damaged; what is lost goes into docs/reliability.md.

    python benchmarks/reliability.py                                        everything, some ten minutes on two cores
    python benchmarks/reliability.py --kills 30 --resumes 9 --corruptions 25 --no-peers

A smaller campaign than the page promises leaves the page as it is. The peers need Lightning: pip install -e ".[bench]".
The exit code is 1 where a run was lost, a byte differs after a resume, or a damage went unnoticed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a process with threads cannot be forked

from benchmarks import reliability_forks as forks  # noqa: E402
from benchmarks import reliability_runs as runs  # noqa: E402
from benchmarks.reliability_damage import damage_campaign  # noqa: E402
from benchmarks.reliability_kills import Victims, kill_campaign, resume_campaign  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"
KILLS, RESUMES, CORRUPTIONS = 500, 50, 400  # what the page promises at least
BEGIN, END = "<!-- campaign -->", "<!-- /campaign -->"


def main() -> int:
    """Runs the campaign, prints the tables, fills the page."""
    args = parse()
    rng = random.Random(args.seed)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="reliability-", ignore_cleanup_errors=True) as temporary:
        result = campaign(Path(temporary), args, rng)
    result["seconds"] = round(time.perf_counter() - start)
    text = tables(result)
    print(json.dumps(result, indent=1) if args.json else text)
    whole = args.kills >= KILLS and args.resumes >= RESUMES and args.corruptions >= CORRUPTIONS and args.peers
    page = args.page or (PAGE if whole else None)
    if page is not None:
        fill(page, text)
    else:
        print(f"smaller than what {PAGE.relative_to(ROOT)} promises: the page stays as it is", file=sys.stderr)
    ours = [*result["kills"], result["resumes"], *result["corruptions"]]
    return int(any(line["lost"] or line["differing"] or line["survived"] < line["injected"] for line in ours))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=600, metavar="N")
    parser.add_argument("--resumes", type=int, default=60, metavar="N", help="runs stopped and resumed to the end")
    parser.add_argument("--corruptions", type=int, default=500, metavar="N")
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, default=True, help="torch.save and Lightning, as often"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments, the bits and the order of signals")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help=f"fill this page (a whole campaign: {PAGE.relative_to(ROOT)})"
    )
    return parser.parse_args()


def campaign(folder: Path, args: argparse.Namespace, rng: random.Random) -> dict[str, Any]:
    """All faults; the lines of the tables as plain types."""
    if args.peers:
        from benchmarks import reliability_peers as peers

        peers.require()
    import torch

    torch.set_num_threads(1)
    say(f"importing what a run imports (torch {torch.__version__})")
    variants = list(runs.VARIANTS)
    for number, variant in enumerate(variants):  # an optimizer of torch.optim imports what our SGD does not
        forks.import_what_it_imports(runs.tool(runs.start_words(variant, folder / f"warm{number}")))
    victims = Victims(folder, rng)
    say(f"{args.kills} kills")
    kills = kill_campaign(victims, args.kills, variants)
    say(f"{args.resumes} resumes")
    resumes = resume_campaign(victims, args.resumes, variants)
    say(f"{args.corruptions} corruptions")
    corruptions = damage_campaign(folder, args.corruptions, rng)
    others = []
    if args.peers:
        say(f"peers, {args.kills} kills each")
        others = peers.peer_campaign(folder, args.kills, args.corruptions, rng)
    return {
        "kills": [dataclasses.asdict(tally) for tally in kills],
        "resumes": dataclasses.asdict(resumes),
        "corruptions": [dataclasses.asdict(tally) for tally in corruptions],
        "peers": [dataclasses.asdict(peer) for peer in others],
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, no GPU used",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "seed": args.seed,
    }


def tables(result: dict[str, Any]) -> str:
    """What was injected and what came of it, as Markdown."""
    lines = [
        f"{result['machine']}; {result['versions']}; seed {result['seed']}; {result['seconds']} s in all.",
        "",
        "| fault | injected | survived | runs lost | ends compared | bytes differing | most steps to do again |",
        "|---|---|---|---|---|---|---|",
    ]
    stops = [*result["kills"], result["resumes"]]
    for line in [*stops, total("**kills and stops**", stops)]:
        cells = (line["name"], line["injected"], line["survived"], line["lost"], line["compared"], line["differing"])
        lines.append(f"| {' | '.join(map(str, cells))} | {line['work'] if line is not result['resumes'] else ''} |")
    lines += ["", "| corruption of a checkpoint | injected | detected |", "|---|---|---|"]
    for line in [*result["corruptions"], total("**corruptions**", result["corruptions"])]:
        lines.append(f"| {line['name']} | {line['injected']} | {line['survived']} |")
    if result["peers"]:
        lines += ["", *peer_table(result)]
    return "\n".join(lines) + "\n"


def peer_table(result: dict[str, Any]) -> list[str]:
    """The peers, below ours."""
    lines = [
        "| system | kills | left a torn checkpoint | runs lost | resumed, not equal | files damaged | loaded unnoticed |",
        "|---|---|---|---|---|---|---|",
    ]
    kills, damage = total("", result["kills"]), total("", result["corruptions"])
    ends, unequal = kills["compared"], kills["unequal"]
    missed = damage["injected"] - damage["survived"]
    counts = (kills["injected"], kills["torn"], kills["lost"], f"{unequal} of {ends}", damage["injected"], missed)
    lines.append(f"| this template | {' | '.join(map(str, counts))} |")
    for peer in result["peers"]:
        tally = peer["tally"]
        ends = f"{peer['unequal']} of {peer['runs']}"
        cells = (tally["name"], tally["injected"], peer["torn"], tally["lost"], ends, peer["damaged"], peer["silent"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def total(name: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of lines; of the work lost, the most."""
    summed = {key: sum(line[key] for line in lines) for key in lines[0] if key not in ("name", "complaints", "work")}
    return {"name": name, **summed, "work": max(line["work"] for line in lines)}


def fill(page: Path, text: str) -> None:
    """Puts the text between the page's two marks.

    Raises:
        SystemExit: the page has no such marks.
    """
    old = page.read_text(encoding="utf-8")
    if BEGIN not in old or END not in old:
        raise SystemExit(f"error: {page} has no lines {BEGIN} and {END}")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}{END}", old, count=1), encoding="utf-8")


def say(text: str) -> None:
    """What is being done, on stderr."""
    print(f"{time.strftime('%H:%M:%S')}  {text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
