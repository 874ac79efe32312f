"""The report page in a real browser: it sorts, compares, restores links, fits a phone, and runs nothing of a record."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_exp_records import edit, make_run

from tracking import Facts, start_run
from tracking.page.serve import make_server
from tracking.page.write import write
from tracking.reading.index import load
from tracking.reading.query import FIELDS

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"
HOSTILE = (
    '<img src=x onerror="window.hit=1">', "</script><script>window.hit=1</script>", "<!--<script>", "javascript:window.hit=1",
    "\"'><svg onload=window.hit=1>", "${window.hit=1}", "__proto__", "constructor",
)  # fmt: skip
Open = Callable[..., Any]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for all tests."""
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=SWITCHES.split())
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two repeats, a child with other config and code, a failed one with NaN curves, a half-written and an adopted one."""
    out = tmp_path_factory.mktemp("page") / "exp"
    base = make_run(out, number=1, scores={"val/top1": 0.9, "val/loss": 0.5}, why="does it learn?", expect="val/top1 > 0.8")
    make_run(out, number=2, scores={"val/top1": 0.92}, config={"SEED": 1}, parent=base.name, why="how much is noise?")
    edits = {"modeling/net.py": "WIDTH = 9\n"}
    lower = {"SOLVER.BASE_LR": 0.01}
    make_run(
        out, "small", 3, scores={"val/top1": 0.8}, config=lower, code=edits, parent=base.name, why="x" * 5000, tags=["wide"]
    )
    failed = make_run(out, "other", 4, status="failed", parent="gone_2026-01-01_00-00-00")
    (failed / "metrics.jsonl").write_text('{"step": 1, "a": NaN}\n{"step": 2, "a": 1e400}\n{"step": 3, "a": 2}\n{"ste')
    half = make_run(out, "half", 5)
    (half / "run.json").write_text('{"name": "ha')
    (half / "metrics.jsonl").unlink()
    old = make_run(out, "adopted", 6, scores={"val/top1": 0.7}, adopted="/old/run")
    edit(old / "run.json", code_digest="", tree_digest="", config_digest="", seed=None)
    (old / "config.yml").unlink()
    return out


@pytest.fixture
def open_page(browser: Any, folder: Path) -> Iterator[Open]:
    """`open_page("#tab=curves", width=390)`: the page from disk; no word on its console and no error is allowed."""
    said: list[str] = []
    contexts = []

    def start(hash: str = "", address: str = "", runs: Path = folder, **options: Any) -> Any:
        size = {"width": options.pop("width", 1280), "height": 800}
        context = browser.new_context(viewport=size, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append("a dialog"))
        if not address:
            found = load(runs)
            address = write(found, found.rows, runs / ".report").as_uri()
        page.goto(address + hash)
        page.wait_for_selector("html[data-ready]")
        return page

    yield start
    for context in contexts:
        context.close()
    assert said == []


def until(page: Any, condition: str) -> None:
    """Waits for an expression to become true; the page's policy forbids what playwright has for that."""
    for _ in range(150):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


def names(page: Any) -> list[str]:
    """Of the rows of the table, from the top."""
    found = page.eval_on_selector_all(".row[data-run]", "rows => rows.map(row => [row.ariaRowIndex, row.dataset.run])")
    return [run.rpartition("_20")[0] for _, run in sorted(found, key=lambda pair: int(pair[0]))]


def test_the_table_sorts_filters_and_groups(open_page: Open) -> None:
    page = open_page()
    assert names(page) == ["adopted", "half", "other", "small", "base", "base"]
    page.click('[data-key="value"]')
    assert names(page)[:4] == ["base", "base", "small", "adopted"]
    page.click('[data-key="value"]')
    assert names(page)[:4] == ["adopted", "small", "base", "base"]
    page.fill("#filter", "BASE_LR<0.1")
    until(page, "document.querySelectorAll('.row[data-run]').length === 1")
    assert names(page) == ["small"] and page.text_content("#count") == "1 of 6 runs"
    wanted = {f"{key}!=x": "6 runs" for key in FIELDS} | {"git.branch=main": "5 of 6 runs", "host~else": "5 of 6 runs"}
    for text, count in wanted.items():
        page.fill("#filter", text)
        until(page, f"page.state.get().q === {json.dumps(text)}")
        assert page.text_content("#count") == count, text
    page.fill("#filter", "NO_SUCH_KEY<1")
    until(page, "document.querySelector('#count').textContent.includes('no run has')")
    page.fill("#filter", "")
    page.select_option("#table-tools select", "experiment")
    assert "2 runs" in page.text_content(".row.group >> nth=2") and "± 0.0141" in page.text_content(".row.group >> nth=2")


def test_a_link_restores_what_was_shown(open_page: Open) -> None:
    page = open_page()
    page.fill("#filter", "status=finished")
    until(page, "location.hash.includes('finished')")
    page.click('[data-key="value"]')
    page.check(".row[data-run] >> nth=0 >> input")
    page.check(".row[data-run] >> nth=1 >> input")
    page.click("[data-tab=curves]")
    page.click("[data-value=time]")
    page.wait_for_selector(".chart canvas")
    other = open_page(page.evaluate("location.hash"))
    other.wait_for_selector(".chart canvas")
    assert other.input_value("#filter") == "status=finished" and other.locator(".chip").count() == 2
    assert other.get_attribute("[data-value=time]", "aria-pressed") == "true"
    other.click("[data-tab=runs]")
    assert names(other)[0] == "base" and other.locator("input:checked").count() == 2
    other.go_back()
    other.wait_for_selector(".chart canvas")


def test_curves_are_drawn_on_every_axis_with_gaps_and_bands(open_page: Open) -> None:
    page = open_page("#tab=curves&pool=1&smooth=0.5")
    for axis in ("step", "epoch", "samples", "time"):
        page.click(f"[data-value={axis}]")
        page.wait_for_selector(f"[data-value={axis}][aria-pressed=true]")
    page.wait_for_selector('[data-metric="train/loss"] canvas')
    assert "2 repeats" in page.text_content(".legend")
    series = page.evaluate("page.series.smooth([1, null, 3], 0.5)")
    assert series[1] is None and series[2] == pytest.approx((0.25 * 1 + 0.5 * 3) / 0.75)
    facts = "{curves: {m: [0, [5, null]]}, steps: [[10, 20]], time: [[0, 40], [0, 80]], epoch: [[0, 20], [0, 4]], batch: 8}"
    axes = {"step": [10, 20], "epoch": [2, 4], "samples": [80, 160], "time": [20, 40]}
    for axis, places in axes.items():
        assert page.evaluate(f"page.series.curve({facts}, 'm', '{axis}')") == [places, [5, None]]
    pooled = page.evaluate("page.series.pool([[[0, 2], [1, 3]], [[0, 1, 2], [3, 4, 5]]])")
    assert pooled["xs"] == [0, 1, 2] and pooled["mean"] == [2, 3, 4]
    long = "{curves: {m: [0, [9, -9], 4, 1, [1, 3, 5], [4, 4, 1]]}, steps: [[0, 8], [2, 6, 8]]}"
    short = "{curves: {m: [0, [2, null, 4]]}, steps: [[1, 7, 9]]}"
    pairs = f"[[{long}, 4], [{long}, 8], [{short}, 8], [{short}, 0]]"
    means = f"{pairs}.map(([one, wide]) => page.series.means(one, 'm', 'step', wide))"
    assert page.evaluate(means) == [[[2, 6, 8], [1, 3, 5]], [[4, 8], [2, 5]], [[4, 9], [2, 4]], [[1, 7, 9], [2, None, 4]]]
    open_page("#tab=curves&q=other").wait_for_selector("#curves .empty")
    chosen = open_page("#tab=curves&runs=other_2026-11-01_04-00-00")
    chosen.wait_for_selector('[data-metric="a"] canvas')


def test_runs_stand_side_by_side_with_config_and_code(open_page: Open) -> None:
    page = open_page("#tab=compare&runs=base_2026-11-01_01-00-00&runs=small_2026-11-01_03-00-00")
    page.wait_for_selector(".diff .added")
    assert page.text_content(".diff .removed") == "WIDTH = 8" and page.text_content(".diff .added") == "WIDTH = 9"
    rows = page.locator(".sheet tbody tr").all_text_contents()
    assert "SOLVER.BASE_LR0.10.01" in rows and not any(row.startswith("MODEL.NAME") for row in rows)
    page.click(".sheet [data-value='1']")
    assert any(row.startswith("MODEL.NAME") for row in page.locator(".sheet tbody tr").all_text_contents())
    old = open_page("#tab=compare&runs=adopted_2026-11-01_06-00-00&runs=half_2026-11-01_05-00-00")
    old.wait_for_selector("text=the code of one of the two is unknown")


def test_lineage_and_keys_are_drawn(open_page: Open) -> None:
    page = open_page("#tab=lineage")
    assert page.locator(".link .dot").count() == 6
    places = page.evaluate(
        "page.lanes.layOut(page.data.runs, run => page.data.children.get(run.id) || []).map(r => [r.run.name, r.lane])"
    )
    assert ["base", 0] in places and ["base", 1] in places and ["small", 0] in places
    family = '[["root", ""], ["a", "root"], ["b", "root"], ["c", "a"]].map(([id, parent], number) => ({id, parent, number}))'
    laid = (
        "runs => page.lanes.layOut(runs, run => runs.filter(one => one.parent === run.id)).map(row => [row.run.id, row.lane])"
    )
    assert page.evaluate(f"({laid})({family})") == [
        ["root", 0],
        ["b", 1],
        ["a", 0],
        ["c", 0],
    ]  # c is the newest, so a goes straight on
    page.click("[data-tab=keys]")
    page.wait_for_selector(".parallel canvas")
    box = page.locator('[data-axis="SOLVER.BASE_LR"]').bounding_box()
    page.mouse.move(box["x"] + 14, box["y"] + box["height"] - 1)
    page.mouse.down()
    page.mouse.move(box["x"] + 14, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert page.text_content("#brushed") == "1 of 4 runs lie within"
    page.click("#choose-brushed")
    assert page.locator(".chip").count() == 1
    page.set_viewport_size({"width": 1000, "height": 700})
    page.wait_for_timeout(400)
    heights = page.eval_on_selector_all("rect.brush", "all => all.map(one => Number(one.getAttribute('height')))")
    assert page.text_content("#brushed") == "1 of 4 runs lie within" and len([one for one in heights if one > 50]) == 1


def test_files_that_have_nothing_in_common_are_shown_at_once(open_page: Open, tmp_path: Path) -> None:
    for number in (0, 1):
        code = {"modeling/net.py": "".join(f"{number} {line * (number + 7) % 10007}\n" for line in range(12_000))}
        make_run(tmp_path / "exp", number=number, scores={"val/top1": 0.5}, code=code)
    page = open_page("#tab=compare", runs=tmp_path / "exp")
    page.wait_for_selector(".diff .note", timeout=10_000)
    assert page.text_content(".diff .note") == "and 9000 more lines, which are not shown"
    assert page.text_content("summary .counts") == "+12000 −12000"


def test_the_page_fits_a_phone_and_the_dark(open_page: Open) -> None:
    for tab in ("runs", "curves", "keys", "lineage", "compare"):
        page = open_page(f"#tab={tab}", width=390, color_scheme="dark")
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 22, 25)"
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(247, 247, 245)"
    page = open_page("#run=small_2026-11-01_03-00-00", width=390)
    page.wait_for_selector("aside.run .files")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_runs_are_a_page_too(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    for tab in ("runs", "curves", "keys", "lineage", "compare"):
        said = open_page(f"#tab={tab}", runs=tmp_path / "exp").wait_for_selector(f"#{tab} .empty")
        assert said is not None and (said.text_content() or "").strip(), tab


def hostile_run(folder: Path, number: int, text: str) -> None:
    """A run all of whose strings are `text`, its folder and its files as well."""
    name = text.replace("/", "")
    facts: dict[str, Any] = dict.fromkeys(("why", "expect", "host", "adopted"), text)
    facts |= {"command": [text], "origins": {text: text}, "data": {text: {text: text}}, "git": {"commit": text, "branch": text}}
    facts |= {"environment": {"device": text, text: text}, "tags": [text], "parent": text}
    code = {"modeling/net.py": f"# {text}\n", f"modeling/{name}.py": text}
    config = {text: text, "MODEL.NAME": text}
    made = make_run(folder, f"run{number}", number, scores={f"val/{text}": 0.5}, config=config, code=code, **facts)
    edit(made / "status.json", reason=text, primary_metric=f"val/{text}", status=text)
    (made / "notes.md").write_text("".join(f"# {part}\n{text}\n" for part in ("Why", "Verdict", "Tags", "Notes")))
    rows = [{"step": step, f"train/{text}": 0.1 * step, text: 0.2} for step in (1, 2)]
    (made / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (made / "figures").mkdir()
    (made / "figures" / f"{name}.png").write_bytes(b"")
    (made / "figures" / "x.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>parent.hit=1</script></svg>')
    made.rename(folder / f"{name}_{made.name}")


def test_no_string_of_a_record_runs(open_page: Open, tmp_path: Path) -> None:
    out = tmp_path / "exp"
    for number, text in enumerate(HOSTILE):
        hostile_run(out, number, text)
    ids = sorted(path.name for path in out.iterdir() if path.name[0] != ".")
    page = open_page(runs=out)
    for tab in ("runs", "curves", "keys", "lineage", "compare"):
        page.evaluate(
            "patch => page.state.set(patch)",
            {"tab": tab, "runs": ids, "run": "", "all": "1", "cols": [f"val/{HOSTILE[0]}", HOSTILE[1]]},
        )
        page.wait_for_timeout(150)
    for run in ids:
        page.evaluate("run => page.state.set({run})", run)
        page.wait_for_selector("aside.run .files")
    page.evaluate("page.state.set({run: '', tab: 'runs', group: 'tags', q: '<img'})")
    page.wait_for_timeout(150)
    assert page.evaluate("window.hit") is None
    assert page.locator("main script, aside script, img[src=x], [onerror], [onload]").count() == 0
    links = page.eval_on_selector_all("a[href]", "links => links.map(link => link.protocol)")
    assert links and set(links) == {"file:"}


def test_the_policy_forbids_what_would_run(browser: Any, open_page: Open, folder: Path) -> None:
    open_page()
    page = browser.new_page()
    page.goto((folder / ".report" / "index.html").as_uri())
    page.evaluate("""() => {
        window.refused = [];
        document.addEventListener("securitypolicyviolation", event => window.refused.push(event.effectiveDirective));
        const frame = document.createElement("div");
        frame.innerHTML = '<img src="x" onerror="window.hit=1"><a id="bad" href="javascript:hit=1"></a><p style="top:0">';
        document.body.append(frame);
        document.getElementById("bad").click();
    }""")
    until(page, "window.refused.includes('script-src-attr') && window.refused.includes('script-src-elem')")
    assert page.evaluate("window.hit") is None and "style-src-attr" in page.evaluate("window.refused")
    page.close()


def test_the_served_page_follows_a_run(open_page: Open, tmp_path: Path) -> None:
    out, root = tmp_path / "exp", tmp_path / "code"
    first = make_run(out, number=1, scores={"val/top1": 0.5})
    (root / "tools").mkdir(parents=True)
    (root / "tools" / "train_net.py").write_text("print()\n")
    server = make_server(out, 0, lambda runs: runs.rows)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = open_page(address=f"http://127.0.0.1:{server.server_address[1]}/", hash="#tab=curves")
        assert page.text_content("#count") == "1 run"
        config = "SEED: 0\nSOLVER:\n  BASE_LR: 0.5\n"
        run = start_run(out, Facts(root=root, name="going", config=config, config_digest="d", origins={}, seed=0, command=[]))
        run.log(1, 0, {"train/loss": 2.0})
        run.log(2, 0, {"train/loss": 1.5})
        run.update(progress={"step": 2}, metrics={"val/top1": 0.25}, primary_metric="val/top1")
        until(page, "document.querySelector('#count').textContent === '2 runs'")
        until(page, "document.querySelector('.legend').textContent.includes('going')")
        page.evaluate("id => page.state.set({run: id})", run.id)
        page.click("text=How it was run")
        page.evaluate("window.kept = document.querySelector('[data-metric=\"train/loss\"] canvas')")
        page.evaluate("uPlot.sync('curves').plots[0].setScale('x', {min: 1.25, max: 1.75})")
        run.log(3, 0, {"train/loss": 1.0})
        run.update(progress={"step": 3}, metrics={"val/top1": 0.5}, step=3)
        until(page, "page.data.seen(page.data.runs[1]).curves['train/loss'][1].length === 3")
        until(page, "document.querySelector('table.scores').textContent.includes('0.5000')")
        assert page.evaluate("window.kept.isConnected && document.querySelector('aside details[open]') !== null")
        assert page.evaluate("uPlot.sync('curves').plots.map(one => [one.scales.x.min, one.data[0].length])[0]") == [1.25, 4]
        page.click("[data-tab=keys]")
        until(page, "document.querySelector('#brushed').textContent.startsWith('2 runs')")
        make_run(out, number=2, scores={"val/top1": 0.6}, config={"SOLVER.BASE_LR": 0.2})
        until(page, "document.querySelector('#brushed').textContent.startsWith('3 runs')")
        run.finish("finished")
        (first / "notes.md").write_text("# Verdict\nit does\n")
        page.click("[data-tab=runs]")
        page.wait_for_selector("text=→ it does")
        page.wait_for_selector(f'[data-run="{run.id}"] .status.finished')
    finally:
        server.shutdown()
        server.server_close()
