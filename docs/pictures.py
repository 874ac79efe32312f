"""The pictures of the documents, made anew: small runs on the digits in a copy of the project, and what is shown of them.

    python docs/pictures.py                    # writes docs/pictures/; about two minutes on two cores
    python docs/pictures.py --keep ../story    # and keeps the copy with its runs, to look around in

The report page is photographed by Chromium; where there is none, or no playwright, its picture stays as it is, which is said.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.terminal_theme import TerminalTheme  # noqa: E402
from rich.text import Text  # noqa: E402

from tracking.snapshot import list_code  # noqa: E402

LINEAR = "train_net.py --config-file configs/train_digits_softmax.yml --name"
CNN = "train_net.py --config-file configs/train_digits_cnn.yml --epochs 8 --name"
EDITED, BEFORE, AFTER = "modeling/models/mlp.py", "nn.ReLU(inplace=True)", "nn.GELU()"
# The commands of someone's afternoon, in tools/; "edit" changes the code, as one does between two runs.
STORY = (
    f'{LINEAR} linear --why "does the baseline learn?"',
    f'{LINEAR} linear --seed 1 --why "how much is noise?"',
    f'{LINEAR} linear --seed 2 --why "how much is noise?"',
    f'{LINEAR} mlp --parent linear --why "does one hidden layer help?" --expect "test/top1 > parent" MODEL.NAME mlp',
    f'{LINEAR} mlp --seed 1 --why "the hidden layer with other seeds" MODEL.NAME mlp',
    f'{LINEAR} mlp --seed 2 --why "the hidden layer with other seeds" MODEL.NAME mlp',
    'exp.py verdict last "seems to help; three seeds do not settle it"',
    "edit",
    f'{LINEAR} mlp --seed 2 --why "GELU instead of ReLU" MODEL.NAME mlp',
    'exp.py verdict last "no better than ReLU"',
    f'{CNN} cnn --parent mlp --why "do convolutions help on 8 x 8 pixels?" --expect "test/top1 > parent + 0.01"',
    f'{CNN} cnn --seed 1 --why "convolutions with another seed"',
    'exp.py verdict last "promising, more seeds first"',
    f'{CNN} cnn --why "how far can the rate go?" SOLVER.BASE_LR 100000',
)
TINY = (f'{CNN} cnn --why "a start"', "edit", f'{LINEAR} mlp --why "GELU" MODEL.NAME mlp')
FAILS = "BASE_LR 100000"
COLUMNS = 100
SWITCHES = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"
THEME = TerminalTheme(  # dark grey, so that it stands on a white page as on a black one
    (27, 31, 36),
    (208, 214, 221),
    [(91, 98, 107), (255, 123, 114), (86, 211, 100), (227, 179, 65)]
    + [(121, 192, 255), (210, 168, 255), (86, 212, 221), (208, 214, 221)],
)
SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
text {{ font: {char_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
text.{unique_id}-title {{ font-size: 16px }}
{styles}
</style>
<defs>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
{matrix}
</g>
</svg>
"""


def main() -> None:
    """Copies, trains, draws."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures", help="where the pictures go")
    parser.add_argument("--keep", type=Path, help="a new folder: the copy of the project with its runs stays there")
    parser.add_argument("--tiny", action="store_true", help="two runs of one epoch: to see that all pictures can be made")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = (args.keep or Path(folder) / "project").resolve()
        copy_project(project)
        train_the_story(project, args.tiny)
        draw_terminal(project, "exp.py ls --limit 6", args.out / "ls.svg")
        draw_terminal(project, "exp.py diff mlp", args.out / "diff.svg")
        draw_figures(project, args.out / "figures.png")
        photograph(project, args.out / "report.png")
    for path in sorted(args.out.iterdir()):
        print(f"{path.stat().st_size / 1000:6.1f} kB  {path}")


def copy_project(to: Path) -> None:
    """The code as it is now, without runs and data: the story edits it."""
    for name in list_code(ROOT):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)


def train_the_story(project: Path, tiny: bool) -> None:
    """All runs, one after another, and their verdicts."""
    for words in TINY if tiny else STORY:
        if words == "edit":
            code = (project / EDITED).read_text()
            assert BEFORE in code, f"{EDITED} is another file by now: the story needs another edit"
            (project / EDITED).write_text(code.replace(BEFORE, AFTER))
        else:
            run(project, f"{words} SOLVER.MAX_EPOCHS 1" if tiny else words, fails=FAILS in words)


def run(project: Path, words: str, fails: bool = False) -> str:
    """What a command of the project's tools/ prints, as on a terminal of `COLUMNS` columns."""
    tool, *rest = shlex.split(words)
    colours = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(
        [sys.executable, f"tools/{tool}", *rest],
        cwd=project, env={**os.environ, **colours}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode == 1) == fails and done.returncode in (0, 1), f"{words}: {done.returncode}\n{done.stderr}"
    return done.stdout


def draw_terminal(project: Path, words: str, to: Path) -> None:
    """A command and its output as a picture of text: SVG, without fonts of its own."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        for line in run(project, words).rstrip().splitlines():
            console.print(Text.from_ansi(line.rstrip()), no_wrap=True, crop=False)
        title = f"python tools/{words}"
        console.save_svg(str(to), title=title, theme=THEME, code_format=SVG, unique_id=to.stem)


def draw_figures(project: Path, to: Path) -> None:
    """Four of the figures that a run leaves, in two columns: curves above Grad-CAM, confusion above calibration."""
    figures = min((project / "exp").glob("cnn_*")) / "figures"
    gap, columns = 48, ((1320, ("curves", "activations_test")), (660, ("confusion_test", "calibration_test")))
    sheet = Image.new("RGB", (sum(width + gap for width, _ in columns) + gap, 2000), "white")
    left, bottom = gap, 0
    for width, names in columns:
        top = gap
        for name in names:
            figure = Image.open(figures / f"{name}.png").convert("RGB")
            figure = figure.resize((width, round(figure.height * width / figure.width)), Image.Resampling.LANCZOS)
            sheet.paste(figure, (left, top))
            top += figure.height + gap
        left, bottom = left + width + gap, max(bottom, top)
    size = (1600, round(1600 * bottom / sheet.width))
    # 256 colours, rare ones (a thin line's) among them: a third of the bytes
    small = sheet.crop((0, 0, sheet.width, bottom)).resize(size, Image.Resampling.LANCZOS)
    small.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(to, optimize=True)


def photograph(project: Path, to: Path) -> None:
    """The report page's curves, repeats pooled, with the pointer over one of them."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if not chromium:
        print(f"{to} stays as it is: no Chromium, or no playwright")
        return
    run(project, "exp.py report")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=SWITCHES.split())
        page = browser.new_page(viewport={"width": 1200, "height": 800}, device_scale_factor=1.5)
        finished = sorted((path.parent.name for path in (project / "exp").glob("*/test.json")), reverse=True)
        chosen = "".join(f"&runs={name}" for name in finished)
        page.goto((project / "exp" / ".report" / "index.html").as_uri() + "#tab=curves&axis=epoch&pool=1" + chosen)
        page.wait_for_selector(".chart canvas")
        page.locator(".chart .u-over").first.hover(position={"x": 120, "y": 90})
        page.wait_for_timeout(500)
        page.screenshot(path=to)
        browser.close()
    Image.open(to).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(to, optimize=True)


if __name__ == "__main__":
    main()
