"""Mixing, repeats, transforms by bare names and views: functions of the position, off by default, right in combination."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import TINY, newest, read_json
from test_resume_equals_uninterrupted import Stop, assert_equal, final
from torch import Tensor, nn
from torch.nn import functional

from config import load_file
from data import build_prepare, build_splits, make_data_loader
from data.mixing import Mixing
from data.samplers import balanced, repeated, sequential, shuffle
from data.transforms.build import make_transforms
from engine.views import VIEWS, AveragedTask
from modeling.losses import LOSSES
from modeling.losses.cross_entropy import CrossEntropy
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
BARE = "[RandAugment, TrivialAugment, ColorJitter, {Cutout: {length: 3}}]"
CRAFT = [
    "INPUT.TRANSFORMS_TRAIN", BARE, "INPUT.MIXUP_ALPHA", "0.4", "INPUT.CUTMIX_ALPHA", "1.0", "INPUT.MIX_PROB", "0.8",
    "LOSS.LABEL_SMOOTHING", "0.1", "DATALOADER.REPEATS", "2", "DATALOADER.SAMPLER", "balanced", "TEST.AUGMENT",
    "[hflip, five_crop]", "SOLVER.ACCUMULATE", "2", "SOLVER.EMA_DECAY", "0.9",
]  # fmt: skip


def prepared(epoch: int = 0, first: int = 0, rank: int = 0, world: int = 1, **keys: str) -> list[dict[str, Any]]:
    """What the model sees of synthetic images, in training."""
    words = [("DATASETS.TRAIN", "synthetic:70x3x8x8x5"), ("SOLVER.IMS_PER_BATCH", "16"), ("INPUT.MIXUP_ALPHA", "0.4")]
    words += [("INPUT.CUTMIX_ALPHA", "1.0"), ("INPUT.TRANSFORMS_TRAIN", BARE), ("DATALOADER.REPEATS", "2")]
    cfg = load_file(None, words + [(key.replace("__", "."), value) for key, value in keys.items()])
    splits = build_splits(cfg)
    loader = make_data_loader(cfg, "train", splits, rank=rank, world_size=world)
    loader.set_position(epoch, first)
    return list(map(build_prepare(cfg, splits, torch.device("cpu"), train=True), loader))


def assert_same(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> None:
    """Equal batches, bit by bit."""
    assert len(a) == len(b) > 0
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys() and all(torch.equal(x[key], y[key]) for key in x)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_draws_do_not_depend_on_loader_and_workers(workers: str) -> None:
    assert_same(prepared(), prepared(DATALOADER__LOADER="processes", DATALOADER__NUM_WORKERS=workers))


def test_draws_are_reached_without_what_lies_before() -> None:
    assert_same(prepared(epoch=3)[2:], prepared(epoch=3, first=2))
    assert not torch.equal(prepared(epoch=0)[0]["image"], prepared(epoch=1)[0]["image"])
    assert not torch.equal(prepared()[0]["image"], prepared(SEED="1")[0]["image"])


def mixing(**changes: Any) -> Mixing:
    """Four classes, mixup, every step."""
    return Mixing(4, **{"mixup_alpha": 0.4, "cutmix_alpha": 0.0, "prob": 1.0, "seed": 0, **changes})


def constant_images(count: int = 8) -> tuple[Tensor, Tensor]:
    """Image i is the number i everywhere, of class i mod 4: what is in a mixed one can be read off."""
    return torch.arange(float(count))[:, None, None, None].expand(-1, 3, 10, 12).clone(), torch.arange(count) % 4


def share_of_step(mix: Mixing, window: int, count: int) -> set[float]:
    """The shares in the targets of a step (rounded)."""
    image, _ = constant_images(count)
    target = torch.arange(count)
    _, soft = Mixing(count, **{k: getattr(mix, k) for k in ("mixup_alpha", "cutmix_alpha", "prob", "seed")})(
        image, target, (0, window)
    )
    return {round(value, 5) for value in soft.unique().tolist()} - {0.0, 1.0}


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_all_micro_batches_and_ranks_of_a_step_get_one_draw(alphas: tuple[float, float]) -> None:
    mix = mixing(mixup_alpha=alphas[0], cutmix_alpha=alphas[1])
    for window in range(20):
        shares = [share_of_step(mix, window, count) for count in (8, 5, 3)]  # whatever the size of the micro-batch
        seen = set().union(*shares)
        assert len(seen) <= 2 and (len(seen) < 2 or sum(seen) == pytest.approx(1, abs=1e-4)), window


def test_ranks_and_accumulation_say_the_same_position() -> None:
    cfg = load_file(None, [("DATASETS.TRAIN", "synthetic"), ("INPUT.MIXUP_ALPHA", "1"), ("SOLVER.ACCUMULATE", "2")])
    splits = build_splits(cfg)
    for rank in (0, 1):
        loader = make_data_loader(cfg, "train", splits, rank=rank, world_size=2)
        loader.set_position(5, 2)
        assert [batch["position"] for batch in loader] == [(5, step) for step in range(1, len(loader) // 2) for _ in "ab"]


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_targets_say_how_much_of_each_image_is_there(alphas: tuple[float, float]) -> None:
    mix = mixing(mixup_alpha=alphas[0], cutmix_alpha=alphas[1])
    image, _ = constant_images(4)
    before = image.clone()
    kinds = set()
    for window in range(40):
        mixed, soft = mix(image, torch.arange(4), (2, window))
        assert torch.allclose(soft.sum(dim=1), torch.ones(4)) and torch.allclose(soft.sum(dim=0), torch.ones(4))
        # The mean pixel of image i is i, so the mean of a mixed one follows from its target.
        assert torch.allclose(mixed.mean(dim=(1, 2, 3)), soft @ torch.arange(4.0), atol=1e-5)
        pasted = all(float(v).is_integer() for v in mixed.unique())
        kinds.add("cutmix" if pasted else "mixup")
    assert torch.equal(image, before)
    assert ("mixup" in kinds) == (alphas[0] > 0) and (alphas[1] == 0 or "cutmix" in kinds)


def test_mixing_hits_the_asked_share_of_steps() -> None:
    image, target = constant_images(4)[0], torch.arange(4)
    mix = mixing(mixup_alpha=1.0, prob=0.3)
    mixed = sum(not torch.equal(mix(image, target, (0, w))[0], image) for w in range(1000))
    assert 0.24 < mixed / 1000 < 0.36  # partners may all be the images themselves, once in 24


def test_without_mixing_and_in_evaluation_batches_say_no_position() -> None:
    for alpha, split in (("0", "train"), ("1", "val"), ("1", "test")):
        cfg = load_file(None, [("DATASETS.TRAIN", "synthetic"), ("INPUT.MIXUP_ALPHA", alpha)])
        splits = build_splits(cfg)
        batch = next(iter(make_data_loader(cfg, split, splits)))
        prepare = build_prepare(cfg, splits, torch.device("cpu"), train=True)
        assert "position" not in batch and torch.equal(prepare(batch)["target"], batch["target"])


def test_multi_label_targets_are_mixed_in_the_same_shares() -> None:
    image, _ = constant_images(4)
    target = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1], [1, 0, 0, 1]])
    _, soft = mixing()(image, target, (0, 1))
    assert torch.allclose(soft.sum(dim=0), target.sum(dim=0)) and soft.max() <= 1 and len(soft.unique()) > 2


def test_off_by_default_changes_no_weight(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    plain = final(newest(tmp_path / "exp"))
    off = ["INPUT.MIXUP_ALPHA", "0", "INPUT.CUTMIX_ALPHA", "1", "INPUT.MIX_PROB", "0", "DATALOADER.REPEATS", "1"]
    assert train(*TINY, *off, "TEST.AUGMENT", "[hflip, vflip, rot90, five_crop]")[0] == 0
    assert_equal(plain["model"], final(newest(tmp_path / "exp"))["model"])
    assert train(*TINY, "INPUT.MIXUP_ALPHA", "1")[0] == 0
    other = final(newest(tmp_path / "exp"))["model"]
    assert any(not torch.equal(plain["model"][name], value) for name, value in other.items())


@pytest.mark.parametrize(("step", "precision"), [(1, "fp32"), (8, "bf16")])
def test_resume_with_all_of_it_equals_uninterrupted(
    step: int, precision: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["SOLVER.PRECISION", precision]
    assert train(*TINY, *CRAFT, *words)[0] == 0
    whole = newest(tmp_path / "exp")
    with monkeypatch.context() as patch:
        Stop(step)(patch)
        code, log, _ = train(*TINY, *CRAFT, *words)
    assert code == 75, log
    stopped = newest(tmp_path / "exp")
    # another loader: nothing of it may show
    code, log, _ = train("--resume", stopped.name, "DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "1")
    assert code == 0, log
    assert_equal(final(whole), final(stopped))
    assert read_json(whole / "test.json") == read_json(stopped / "test.json")


@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 5.0, 0.5)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_cross_entropy_is_the_mean_over_samples(weights: tuple[float, ...], smoothing: float) -> None:
    torch.manual_seed(0)
    logits, soft = torch.randn(6, 4, dtype=torch.float32), torch.rand(6, 4).softmax(dim=1)
    loss = CrossEntropy(4, smoothing, weights)
    weight = torch.tensor(weights) / torch.tensor(weights).mean() if weights else torch.ones(4)
    smoothed = soft * (1 - smoothing) + smoothing / 4
    by_hand = -(smoothed * weight * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert torch.allclose(loss(logits, {"target": soft})["loss"], by_hand, atol=1e-6)
    oracle = functional.cross_entropy(logits, soft, weight, reduction="none", label_smoothing=smoothing).mean()
    assert torch.allclose(loss(logits, {"target": soft})["loss"], oracle, atol=1e-6)
    hard = torch.tensor([0, 3, 2, 1, 1, 0])
    one_hot = functional.one_hot(hard, 4).float()
    assert torch.allclose(loss(logits, {"target": hard})["loss"], loss(logits, {"target": one_hot})["loss"], atol=1e-6)
    parts = [loss(logits[p], {"target": soft[p]})["loss"] * len(p) for p in torch.arange(6).split(4)]
    assert torch.allclose(loss(logits, {"target": soft})["loss"], torch.stack(parts).sum() / 6, atol=1e-6)
    assert loss(logits[:0], {"target": soft[:0]})["loss"] == 0


@pytest.mark.parametrize("length", [12, 13])
def test_repeats_stand_in_one_step_in_an_epoch_of_the_old_length(length: int) -> None:
    order = repeated(lambda epoch: shuffle([0] * length, 0, epoch), 3)
    for epoch in range(6):
        rows = order(epoch)
        assert len(rows) == length and (rows == order(epoch)).all()
        for start in range(0, length - length % 3, 3):
            assert len(set(rows[start : start + 3].tolist())) == 1
    assert set(numpy.concatenate([order(epoch) for epoch in range(3)]).tolist()) == set(range(length))
    assert (order(0) != order(3)).any()  # the next round is in another order
    in_order = repeated(lambda epoch: sequential([0] * length, 0, epoch), 3)
    assert set(numpy.concatenate([in_order(epoch) for epoch in (3, 4, 5)]).tolist()) == set(range(length))


def test_repeats_are_augmented_differently_in_one_batch() -> None:
    cfg = load_file(None, [("DATASETS.TRAIN", "synthetic:64x1x8x8x4"), ("DATALOADER.REPEATS", "4"),
                           ("SOLVER.IMS_PER_BATCH", "32"), ("INPUT.TRANSFORMS_TRAIN", "[{Cutout: {length: 4}}]")])  # fmt: skip
    batch = next(iter(make_data_loader(cfg, "train", build_splits(cfg))))
    index, counts = batch["index"].unique(return_counts=True)
    assert set(counts.tolist()) == {4}
    copies = batch["image"][batch["index"] == index[0]]
    assert len({tuple(copy.flatten().tolist()) for copy in copies}) == 4


def test_balanced_draws_classes_equally_often() -> None:
    targets = [0] * 900 + [1] * 90 + [2] * 10
    drawn = numpy.asarray(targets)[balanced(targets, 0, 0)]
    assert len(drawn) == 1000 and (numpy.abs(numpy.bincount(drawn) - 1000 / 3) < 60).all()
    assert (balanced(targets, 0, 1) == balanced(targets, 0, 1)).all()
    assert (balanced(targets, 0, 0) != balanced(targets, 0, 1)).any()
    for wrong in ([0.5, 1.5], [(0,), (0, 1)]):
        with pytest.raises(UserError, match="one class a sample"):
            balanced(wrong, 0, 0)


@pytest.mark.parametrize("name", ["RandAugment", "TrivialAugment", "ColorJitter", "Cutout"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transforms_by_bare_names(name: str, channels: int) -> None:
    image = torch.randint(0, 256, (channels, 24, 20), dtype=torch.uint8)
    before, state = image.clone(), torch.get_rng_state()
    transform = make_transforms([name], {"mean": (0.5,) * channels, "prob": 0.5, "size": (24, 20)}, "key")[0]
    seen = set()
    for seed in range(30):
        outs = [transform({"image": image, "index": 0}, numpy.random.default_rng(seed))["image"] for _ in range(2)]
        assert torch.equal(*outs) and outs[0].dtype == torch.uint8 and outs[0].shape == image.shape
        seen.add(tuple(outs[0].flatten().tolist()))
    assert len(seen) > 10
    assert torch.equal(image, before) and torch.equal(state, torch.get_rng_state())


def test_cutout_fills_one_square_with_the_mean() -> None:
    cut = make_transforms([{"Cutout": {"length": 6}}], {"mean": (0.2, 0.4, 0.6)}, "key")[0]
    areas = set()
    for seed in range(200):
        image = cut({"image": torch.full((3, 20, 20), 255, dtype=torch.uint8)}, numpy.random.default_rng(seed))["image"]
        hole = image[0] != 255
        assert image[:, hole].T.unique(dim=0).tolist() == [[51, 102, 153]]
        areas.add(int(hole.sum()))
    assert max(areas) == 36 and min(areas) < 36  # cut off at the border, as in the paper


@pytest.mark.parametrize("name", ["RandAugment", "TrivialAugment"])
def test_a_mask_that_would_not_follow_is_an_error(name: str) -> None:
    sample = {"image": torch.zeros(3, 8, 8, dtype=torch.uint8), "mask": torch.zeros(8, 8, dtype=torch.int64), "index": 0}
    with pytest.raises(UserError, match="mask would not follow"):
        make_transforms([name], {}, "key")[0](sample, numpy.random.default_rng(0))
    assert "mask" in make_transforms(["ColorJitter"], {}, "key")[0](sample, numpy.random.default_rng(0))


class FlipInvariant(nn.Module):
    """Sees only sums of pixels: no flip or turn changes anything."""

    def forward(self, image: Tensor) -> Tensor:
        sums = image.mean(dim=(1, 2, 3))
        return torch.stack([sums, 3 * sums.sin(), -2 * sums], dim=1)


def averaged(model: nn.Module, views: list[str], averages: str, image: Tensor) -> Any:
    """The averaged outputs; the loss says nothing."""

    class Quiet(nn.Module):
        def forward(self, outputs: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"loss": torch.zeros(())}

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss = model, Quiet()

    outputs, _ = AveragedTask(Pair(), views, averages)({"image": image})  # type: ignore[arg-type]
    return outputs


def test_views_of_a_flip_invariant_model_change_nothing() -> None:
    image = torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 5
    plain = FlipInvariant()(image)
    for averages, act in (("softmax", lambda t: t.softmax(1)), ("sigmoid", torch.sigmoid), ("mean", lambda t: t)):
        outputs = averaged(FlipInvariant(), ["hflip", "vflip", "rot90"], averages, image)
        assert torch.allclose(act(outputs), act(plain), atol=1e-6)


def test_views_average_probabilities() -> None:
    torch.manual_seed(0)
    image, model = torch.randn(5, 2, 8, 8), nn.Sequential(nn.Flatten(), nn.Linear(128, 3))
    views = ["hflip", "rot90", "five_crop"]
    outputs = torch.stack([model(view) for view in [image, *(v for name in views for v in VIEWS[name](image))]])
    assert len(outputs) == 1 + 1 + 3 + 5
    assert torch.allclose(averaged(model, views, "softmax", image).softmax(1), outputs.softmax(2).mean(0), atol=1e-6)
    assert torch.allclose(averaged(model, views, "sigmoid", image).sigmoid(), outputs.sigmoid().mean(0), atol=1e-6)
    assert torch.allclose(averaged(model, views, "mean", image), outputs.mean(0), atol=1e-6)
    far = averaged(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)), views, "sigmoid", image * 1e4)
    assert far.isfinite().all()


class Named(nn.Module):
    """Outputs by name."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": image[:, :, 0, 0], "features": image}


def test_views_average_the_entry_that_is_the_prediction() -> None:
    image = torch.randn(4, 3, 6, 6)
    outputs = averaged(Named(), ["hflip"], "softmax", image)
    wanted = (image[:, :, 0, 0].softmax(1) + image[:, :, 0, -1].softmax(1)) / 2
    assert torch.allclose(outputs["logits"].softmax(1), wanted, atol=1e-6)
    assert torch.equal(outputs["features"], image)


def test_views_give_the_same_digits_in_training_and_in_test_net(train: Train, tmp_path: Path) -> None:
    import test_net

    words = [*TINY, "DATASETS.TRAIN", "digits", "MODEL.NAME", "softmax", "SOLVER.MAX_EPOCHS", "2", "TEST.AUGMENT", "[rot90]"]
    assert train(*words)[0] == 0
    run = newest(tmp_path / "exp")
    result = read_json(run / "test.json")
    assert train(str(run), main=test_net.main)[0] == 0
    assert read_json(run / "test.json") == result
    assert train(str(run), "TEST.AUGMENT", "[]", main=test_net.main)[0] == 0
    plain = read_json(run / "test.json")["metrics"]
    assert plain["test/top1"] > result["metrics"]["test/top1"]  # a turned digit is another one


@LOSSES.register("hard_only")
class HardOnly(nn.Module):
    """A user's loss that reads class numbers."""

    def forward(self, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Negative logit of the target."""
        return {"loss": -outputs.gather(1, batch["target"][:, None]).mean()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["INPUT.MIXUP_ALPHA", "1", "LOSS.NAME", "hard_only"], "soft targets"),
        (["INPUT.MIXUP_ALPHA", "-1"], "INPUT.MIXUP_ALPHA"),
        (["INPUT.MIX_PROB", "2"], "INPUT.MIX_PROB"),
        (["DATALOADER.REPEATS", "3"], "multiple of DATALOADER.REPEATS 3"),
        (["DATALOADER.REPEATS", "0"], "DATALOADER.REPEATS"),
        (["INPUT.TRANSFORMS_TRAIN", "[{RandAugment: {magnitude: 31}}]"], "whole number of 0 to 30 as magnitude"),
        (["INPUT.TRANSFORMS_TRAIN", "[{RandAugment: {num_ops: 1.5}}]"], "whole number >= 1 as num_ops"),
        (["INPUT.TRANSFORMS_TRAIN", "[{TrivialAugment: {num_magnitude_bins: 0}}]"], "num_magnitude_bins"),
        (["INPUT.TRANSFORMS_TRAIN", "[{ColorJitter: {hue: 0.7}}]"], "hue"),
        (["INPUT.TRANSFORMS_TRAIN", "[Cutout]"], "covers the whole image of 8 x 8; give {Cutout: {length: 4}}"),
        (["INPUT.TRANSFORMS_TRAIN", "[{Cutout: {length: 0}}]"], "whole number >= 1 as length"),
        (
            ["INPUT.TRANSFORMS_TRAIN", "[RandAugment]", "DATASETS.TRAIN", "synthetic:96x2x8x8x4", "INPUT.SIZE_TRAIN", "8"],
            "images of 1 or 3 channels",
        ),
        (["TEST.AUGMENT", "[hfilp]"], "did you mean hflip"),
        (["TEST.AUGMENT", "[hflip, hflip]"], "twice"),
        (["TEST.AUGMENT", "[rot90]", "DATASETS.TRAIN", "synthetic:96x1x8x6x4"], "rot90 needs square images"),
        (["TEST.EVALUATOR", "regression"], "TEST.EVALUATOR regression is not for the targets"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], said: str, train: Train, tmp_path: Path) -> None:
    code, error, out = train(*TINY, *words)
    lines = [line for line in error.splitlines() if line.startswith("error:")]
    assert code == 2 and len(lines) == 1 and said in lines[0], error
    assert "Traceback" not in error and not out and not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    "words",
    [["INPUT.MIXUP_ALPHA", "1"], ["DATALOADER.SAMPLER", "balanced"], ["LOSS.NAME", "cross_entropy"]],
)
def test_what_needs_classes_says_so_of_a_regression(words: list[str], train: Train, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("\n".join(["a,y", *(f"{x},{2 * x}.5" for x in range(50))]))
    table = ["DATASETS.TRAIN", f"csv:{tmp_path / 'table.csv'}", "MODEL.NAME", "softmax", "TEST.EVALUATOR", "regression"]
    code, error, _ = train(*TINY, *table, *([] if words[0] == "LOSS.NAME" else ["LOSS.NAME", "mse"]), *words)
    assert code == 2 and ("class" in error) and not (tmp_path / "exp").exists(), error


@pytest.mark.slow
def test_ranks_agree_with_repeats_transforms_and_views(tmp_path: Path) -> None:
    """Without mixing, whose partners come from within the micro-batch, ranks train the same weights."""
    from test_ranks_agree import TOLERANCE, launch, weights

    words = ["INPUT.TRANSFORMS_TRAIN", BARE, "DATALOADER.REPEATS", "2", "TEST.AUGMENT", "[hflip]"]
    one, two = launch(tmp_path / "one", *words), launch(tmp_path / "two", *words, ranks=2)
    for name, value in weights(one).items():
        assert torch.allclose(value, weights(two)[name], atol=TOLERANCE, rtol=0), name
    assert read_json(one / "test.json")["metrics"]["test/top1"] == read_json(two / "test.json")["metrics"]["test/top1"]
    mixed = launch(tmp_path / "mixed", *CRAFT, ranks=2)
    assert read_json(mixed / "status.json")["status"] == "finished"
