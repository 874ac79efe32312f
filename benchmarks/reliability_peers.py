"""The same kills elsewhere: torch.save over one file, and Lightning's ModelCheckpoint, each as its documentation shows it.

The same sizes as our own victim: 86 samples, 6 steps an epoch, 6 epochs, a checkpoint after each, a network of 256 x 256 with
dropout. A life goes on from the newest file that can still be read, even where a person would have to find it by hand.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import reliability_forks as forks
from benchmarks import reliability_runs as runs
from benchmarks.reliability_damage import plain_load
from benchmarks.reliability_forks import Moment
from benchmarks.reliability_kills import Tally

Life = Callable[[Path, Path | None], None]  # folder of the checkpoints, the one to go on from
INSTALL = 'the peers need Lightning: pip install -e ".[bench]" (or leave them out with --no-peers)'


@dataclass
class Peer:
    """One line of the table: its kills and its damaged files."""

    tally: Tally
    torn: int = 0  # kills after which a checkpoint could not be read
    runs: int = 0  # that were resumed and came to an end
    unequal: int = 0  # of them, not equal to the run that was never killed
    damaged: int = 0
    silent: int = 0  # damaged files that were loaded without a word


def require() -> None:
    """Says how to install them, where they are not."""
    if importlib.util.find_spec("lightning") is None:
        raise SystemExit(f"error: {INSTALL}")


def peer_campaign(folder: Path, kills: int, corruptions: int, rng: random.Random) -> list[Peer]:
    """`kills` for each peer, half of them at any moment and half within a save; `corruptions` of its files."""
    lives: dict[str, Life] = {"torch.save over one file": plain, "Lightning ModelCheckpoint": lightning_life}
    shm = Path("/dev/shm")
    if shm.is_dir() and os.stat(shm).st_dev != os.stat(folder).st_dev:
        lives["Lightning, $TMPDIR on another file system"] = _with_temporary(shm)
    forks.import_what_it_imports(lambda: lightning_life(folder / "warm" / "weights", None))
    try:
        return [
            _kill(Peer(Tally(name)), life, folder / f"peer{number}", kills, corruptions, rng)
            for number, (name, life) in enumerate(lives.items())
        ]
    finally:
        _remove_temporaries()


def _kill(peer: Peer, life: Life, folder: Path, kills: int, corruptions: int, rng: random.Random) -> Peer:
    whole = folder / "whole" / "weights"
    ended = forks.run(lambda: life(whole, None))
    assert ended.code == 0, ended.log
    window = 3 * sum(ended.saves) / len(ended.saves)
    reference = runs.load(_newest(whole) or whole)
    tally = peer.tally
    while tally.injected < kills:
        victim = folder / "victim"
        shutil.rmtree(victim, ignore_errors=True)
        over = resumed = False
        while not over:
            resumed = _newest(victim / "weights") is not None
            aimed = tally.injected % 2
            moment = Moment("save", at=rng.uniform(0, window), count=rng.randint(1, 4))
            moment = moment if aimed else Moment("time", at=rng.uniform(0, ended.seconds))
            over = _one_life(peer, life, victim / "weights", moment if tally.injected < kills else forks.NEVER)
        last = _newest(victim / "weights")
        if last is not None and resumed:
            differs = runs.compare(_learned(reference), _learned(runs.load(last))).differing
            peer.runs += 1
            peer.unequal += differs > 0
            tally.differing += differs
    newest = _newest(whole)
    assert newest is not None
    peer.damaged, peer.silent = plain_load(newest, rng, corruptions)
    return peer


def _one_life(peer: Peer, life: Life, weights: Path, moment: Moment) -> bool:
    """Whether the run is over: at its end, or lost."""
    start = _newest(weights)
    ended = forks.run(lambda: life(weights, start), moment)
    if not ended.killed:
        assert ended.code == 0, ended.log
        return True
    if not _files(weights):
        return False  # nothing was ever saved: nothing to lose, not counted
    peer.tally.injected += 1
    whole = [runs.load(path) is not None for path in _files(weights)]
    peer.torn += not all(whole)
    if not any(whole):  # files lie there, none can be read: no next life begins by itself
        peer.tally.lost += 1
        shutil.rmtree(weights)
        return True
    peer.tally.survived += 1
    return False


def _files(weights: Path) -> list[Path]:
    """The checkpoints that lie there."""
    return [path for path in weights.glob("*") if path.suffix in (".pt", ".ckpt")]


def _newest(weights: Path) -> Path | None:
    """The newest checkpoint that can be read."""
    found = []
    for path in _files(weights):
        content = runs.load(path)
        if content is not None:
            found.append((int(content["global_step"]), path.name == "last.ckpt", path))
    return max(found)[2] if found else None


def _learned(content: dict[str, Any] | None) -> dict[str, Any]:
    """Weights and the optimizer's state."""
    return {key: (content or {}).get(key) for key in ("state_dict", "optimizer_states", "global_step")}


def _network() -> Any:
    from torch import nn

    hidden = [nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 256), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(256, 4))


def _loader() -> Any:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    draw = torch.Generator().manual_seed(0)
    images, targets = torch.rand(86, 1, 8, 8, generator=draw), torch.randint(0, 4, (86,), generator=draw)
    return DataLoader(TensorDataset(images, targets), batch_size=16, shuffle=True)


def plain(weights: Path, start: Path | None) -> None:
    """The loop of the PyTorch tutorial on saving and loading a general checkpoint."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    weights.mkdir(parents=True, exist_ok=True)
    model = _network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    first = step = 0
    if start is not None:
        content = torch.load(start, weights_only=True)
        model.load_state_dict(content["state_dict"])
        optimizer.load_state_dict(content["optimizer_states"][0])
        first, step = content["epoch"] + 1, content["global_step"]
    for epoch in range(first, runs.EPOCHS):
        for images, targets in _loader():
            optimizer.zero_grad()
            cross_entropy(model(images), targets).backward()
            optimizer.step()
            step += 1
        state = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}
        torch.save({**state, "epoch": epoch, "global_step": step}, weights / "last.pt")


def lightning_life(weights: Path, start: Path | None) -> None:
    """Trainer.fit with a ModelCheckpoint that keeps the newest of each epoch and last.ckpt."""
    import lightning
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch.nn.functional import cross_entropy

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = _network()

        def training_step(self, batch: Any, number: int) -> Any:
            return cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    lightning.seed_everything(0)
    trainer = lightning.Trainer(
        max_epochs=runs.EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=[ModelCheckpoint(dirpath=weights, save_last=True)],
    )
    trainer.fit(Module(), _loader(), ckpt_path=str(start) if start is not None else None)


def _with_temporary(folder: Path) -> Life:
    """Lightning writes its temporary files into $TMPDIR: here one on another file system, as on many clusters."""

    def life(weights: Path, start: Path | None) -> None:
        own = folder / f"reliability-{os.getppid()}"  # of the campaign, which removes it
        own.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = tempfile.tempdir = str(own)
        lightning_life(weights, start)

    return life


def _remove_temporaries() -> None:
    """What killed lives left in the other $TMPDIR."""
    shutil.rmtree(Path("/dev/shm") / f"reliability-{os.getpid()}", ignore_errors=True)
