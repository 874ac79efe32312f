"""Models of retrieval: any backbone with pooling, neck and classifier; OSNet by its published names; parts."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import TINY, newest, read_json
from test_ranks_agree import launch
from test_resume_equals_uninterrupted import Stop, assert_equal, final
from torch import Tensor, nn

from config import load_file
from layers.pooling import GeneralisedMean
from modeling import build_loss, build_model, load_state_file, load_weights
from modeling.backbones import build_backbone
from modeling.models.pcb import stripe_means
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
IMAGES = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def words_of(args: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in args.items()) + "}"


def model_of(name: str, keys: dict[str, str] | None = None, **args: Any) -> Any:
    torch.manual_seed(0)
    words = [("MODEL.NAME", name), ("MODEL.ARGS", words_of(args)), *(keys or {}).items()]
    return build_model(load_file(None, words), in_channels=3, num_classes=5, image_size=(64, 32))


# --- backbones


@pytest.mark.parametrize(
    ("name", "follow"),
    [
        pytest.param("resnet18", "flatten fc", marks=pytest.mark.slow),
        ("mobilenet_v3_small", "flatten classifier"),
        pytest.param("densenet121", "flatten classifier", marks=pytest.mark.slow),
        pytest.param("convnext_tiny", "classifier", marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", "flatten classifier", marks=pytest.mark.slow),
        pytest.param("regnet_y_400mf", "flatten fc", marks=pytest.mark.slow),
        pytest.param("swin_t", "flatten head", marks=pytest.mark.slow),
        pytest.param("googlenet", "flatten fc", marks=pytest.mark.slow),
        pytest.param("shufflenet_v2_x0_5", "flatten fc", marks=pytest.mark.slow),
        pytest.param("mnasnet0_5", "flatten classifier", marks=pytest.mark.slow),
    ],
)
def test_a_torchvision_backbone_is_the_model_without_its_head(name: str, follow: str) -> None:
    """With the mean and the head put back it gives what the classifier gives, with the classifier's own names."""
    whole = model_of(f"torchvision/{name}").eval()
    backbone = build_backbone(f"torchvision/{name}", 3, (64, 32)).module.eval()
    state = whole.state_dict()
    assert backbone.state_dict().keys() == {k for k in state if k.split(".")[0] not in ("fc", "classifier", "head")}
    backbone.load_state_dict({k: state[k] for k in backbone.state_dict()})
    x = backbone(IMAGES).mean(dim=(2, 3), keepdim=True)
    for part in follow.split():
        x = x.flatten(1) if part == "flatten" else getattr(whole, part)(x)
    assert torch.allclose(x, whole(IMAGES), atol=1e-4)


@pytest.mark.parametrize("name", ["example_model", "resnet20", "resnet_fast", "osnet_x0_25"])
def test_an_own_backbone_has_the_classifier_s_names_and_values(name: str) -> None:
    whole, backbone = model_of(name).eval(), build_backbone(name, 3, (64, 32)).module.eval()
    state = whole.state_dict()
    assert backbone.state_dict().keys() == {k for k in state if k.split(".")[0] not in ("fc", "classifier", "head")}
    backbone.load_state_dict({k: state[k] for k in backbone.state_dict()})
    assert torch.equal(backbone(IMAGES), whole.features(IMAGES))
    copied = copy.deepcopy(backbone)
    nn.init.zeros_(next(copied.parameters()))
    assert not torch.equal(copied(IMAGES), backbone(IMAGES))  # a copy, as EMA makes it, runs its own weights


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_vit", "timm/convnext_atto"])
def test_timm_backbones_give_maps(name: str) -> None:
    pytest.importorskip("timm")
    backbone = build_backbone(name, 3, (160, 160) if name == "timm/test_vit" else (64, 32))
    images = torch.zeros(2, 3, 160, 160) if name == "timm/test_vit" else IMAGES[:2]
    x = backbone.to_map(backbone.module(images))
    assert x.shape[:3] == (2, backbone.channels, backbone.rows) and x.ndim == 4


def test_tokens_become_the_map_that_they_were() -> None:
    from layers.feature_maps import TokensToMap

    x = torch.randn(2, 7, 3, 5)
    tokens = torch.cat([torch.zeros(2, 1, 7), x.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(TokensToMap(1, (3, 5))(tokens), x)
    assert TokensToMap(1)(tokens).shape == (2, 7, 15, 1)


@pytest.mark.parametrize("name", ["torchvision/resnet18", "resnet20", "timm/resnet26"])
def test_the_last_stride_can_be_taken(name: str) -> None:
    pytest.importorskip("timm")
    own, one = (build_backbone(name, 3, (64, 64), last_stride=stride) for stride in ("own", "one"))
    assert one.rows == 2 * own.rows and one.channels == own.channels
    assert {k: v.shape for k, v in one.module.state_dict().items()} == {k: v.shape for k, v in own.module.state_dict().items()}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"backbone": "mlp"}, "by a method features"),
        ({"backbone": "resnet21"}, "did you mean .*resnet20"),
        ({"backbone": "torchvision/resnet19"}, "did you mean resnet18"),
        ({"backbone": "osnet_x0_25", "last_stride": "one"}, "no block of osnet_x0_25 has a stride"),
        ({"last_stride": "two"}, "unknown 'two'.*own, one"),
        ({"pooling": "gm"}, "unknown 'gm'; did you mean gem.*average, gem, max"),
        ({"neck": "bn"}, "unknown 'bn'.*bnneck, none"),
        ({"compare": "never"}, "unknown 'never'.*after, before"),
        ({"feature_dim": -1}, "has to be 0 or more"),
        ({"feature_dim": "many"}, "has to be a whole number"),
        ({"dropout": 1.5}, "has to be 0 to 1"),
        ({"backbone_args": 3}, "backbone_args has to be {argument: value}"),
        ({"backbone_args": "{widht: 8}"}, "the model example_model: no argument 'widht'; did you mean width"),
        ({"backbone": "torchvision/resnet18", "backbone_args": "{width: 8}"}, "takes none"),
        ({"poling": "gem"}, "no argument 'poling'; did you mean pooling"),
    ],
)
def test_what_an_embedding_cannot_be_is_one_line(args: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        model_of("embedding", **args)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_model_that_is_no_chain_of_parts_is_no_backbone() -> None:
    with pytest.raises(UserError, match="makes no map of an image of 3 x 32 x 32"):
        build_backbone("torchvision/vit_b_32", 3, (32, 32))


def test_stochastic_depth_reaches_the_backbone() -> None:
    body = model_of("embedding", {"MODEL.DROP_PATH": "0.3"}, backbone="resnet20").backbone
    assert max(m.rate for m in body.modules() if type(m).__name__ == "DropPath") == pytest.approx(0.3)
    with pytest.raises(UserError, match="MODEL.DROP_PATH: osnet_x0_25 has no stochastic depth"):
        model_of("embedding", {"MODEL.DROP_PATH": "0.3"}, backbone="osnet_x0_25")


# --- pooling, neck, classifier


def test_gem_lies_between_the_mean_and_the_maximum() -> None:
    x = torch.rand(3, 4, 5, 6) + 0.1
    assert torch.allclose(GeneralisedMean(1.0)(x), x.mean(dim=(2, 3)))
    assert torch.allclose(GeneralisedMean(200.0)(x), x.amax(dim=(2, 3)), rtol=0.03)
    loop = torch.stack([torch.stack([(m**3).mean() ** (1 / 3) for m in image]) for image in x])
    assert torch.allclose(GeneralisedMean()(x), loop)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(GeneralisedMean()(x), loop)
    pooling, dark = GeneralisedMean(), torch.zeros(1, 2, 3, 3, requires_grad=True)
    pooling(dark).sum().backward()
    assert pooling.p.grad is not None and bool(pooling.p.grad.isfinite()) and dark.grad is not None


@pytest.mark.parametrize("pooling", ["average", "gem", "max"])
@pytest.mark.parametrize("feature_dim", [0, 24])
@pytest.mark.parametrize("neck", ["bnneck", "none"])
def test_an_embedding_s_outputs(pooling: str, feature_dim: int, neck: str) -> None:
    model = model_of("embedding", backbone="resnet20", pooling=pooling, feature_dim=feature_dim, neck=neck)
    out = model(IMAGES)
    assert out["embedding"].shape == out["feature"].shape == (4, feature_dim or 64) and model.feature_dim == (feature_dim or 64)
    assert out["logits"].shape == (4, 5) and torch.equal(out["embedding"], out["feature"]) == (neck == "none")
    assert torch.allclose(out["logits"], model.head(out["feature"]))


def test_the_neck_is_the_paper_s() -> None:
    model = model_of("embedding", backbone_args="{width: 8}")
    assert model.feature_dim == 32
    assert model.neck.bias.requires_grad is False and model.neck.weight.requires_grad and model.head.bias is None
    after, before = (model_of("embedding", compare=place).eval()(IMAGES) for place in ("after", "before"))
    assert not torch.equal(after["feature"], after["embedding"]) and torch.equal(before["feature"], before["embedding"])
    training = model_of("embedding", compare="before")(IMAGES)  # the neck learns all the same
    assert not torch.equal(training["feature"], training["embedding"])


def test_dropout_is_of_the_classifier_alone() -> None:
    first, second = (model_of("embedding", dropout=0.5) for _ in range(2))
    a, b = first(IMAGES), second.eval().train()(IMAGES)
    assert torch.equal(a["feature"], b["feature"]) and not torch.equal(a["logits"], first.head(a["feature"]))


def check(model: str, *losses: str, **args: Any) -> None:
    terms = "[" + ", ".join(f"[{name}, 1]" for name in losses) + "]"
    words = [("MODEL.NAME", model), ("MODEL.ARGS", words_of(args)), ("LOSS.TERMS", terms)]
    build_loss(load_file(None, words), num_classes=5, model=model_of(model, **args))


def test_what_no_loss_trains_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    check("embedding", "cross_entropy", "triplet")
    check("embedding", "arcface", classifier="false")
    check("embedding", "triplet", classifier="false", neck="none")
    check("osnet_x0_25", "triplet", classifier="false")
    assert not caplog.text
    for model in ("embedding", "osnet_x0_25"):
        check(model, "arcface")
        assert f"sees the logits of {model}" in caplog.text and "{classifier: false}" in caplog.text
    check("embedding", "triplet", classifier="false")
    assert "sees the feature of embedding" in caplog.text and "{neck: none}" in caplog.text
    with pytest.raises(UserError, match=r"the loss cross_entropy needs a model with a classifier.*classifier: true"):
        check("embedding", "cross_entropy", classifier="false", neck="none")


def test_scores_of_classes_need_a_classifier(train: Train) -> None:
    words = ["MODEL.NAME", "embedding", "MODEL.ARGS", "{classifier: false}", "LOSS.NAME", "arcface"]
    code, error, _ = train(*TINY[:2], *TINY[4:], *words)
    assert code == 2 and "TEST.EVALUATOR classification needs a model with a classifier, embedding has none" in error


def test_metric_losses_help_classification_too(train: Train, tmp_path: Path) -> None:
    words = ["MODEL.NAME", "embedding", "LOSS.TERMS", "[[cross_entropy, 1], [triplet, 0.5]]", "SOLVER.BASE_LR", "0.1"]
    code, log, _ = train(*TINY[:2], *TINY[4:], *words)
    assert code == 0 and read_json(newest(tmp_path / "exp") / "test.json")["metrics"]["test/top1"] > 0.5, log


# --- OSNet and PCB


@pytest.mark.parametrize(
    ("name", "millions", "digest"),
    [
        ("osnet_x1_0", 2.2, "7a9fd4a12fcfb80c"),
        ("osnet_x0_75", 1.3, "0dfa335a469ed00b"),
        ("osnet_x0_5", 0.6, "991ad9ea3c5dfe4a"),
        ("osnet_x0_25", 0.2, "61c3f7b1d06f9fe7"),
        ("osnet_ibn_x1_0", 2.2, "1e5e093a96f8207a"),
    ],
)
def test_osnet_has_the_published_sizes_names_and_shapes(name: str, millions: float, digest: str) -> None:
    """The digest is of the names and shapes of the authors' model with 1000 classes."""
    model = build_model(load_file(None, [("MODEL.NAME", name)]), in_channels=3, num_classes=1000, image_size=(64, 32))
    own = sum(p.numel() for key, p in model.named_parameters() if not key.startswith("classifier."))
    assert round(own / 1e6, 1) == millions
    lines = sorted(f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == digest


def published_osnet() -> dict[str, Tensor]:
    """A state dict as the authors' files of osnet_x0_25 have it, written down from the paper's table and their naming."""
    state: dict[str, Tensor] = {}

    def conv_norm(name: str, before: int, after: int, kernel: int = 1) -> None:
        state[f"{name}.conv.weight"] = torch.randn(after, before, kernel, kernel)
        norm(f"{name}.bn", after)

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = torch.rand(channels)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv_norm("conv1", 3, 16, 7)
    for stage, before, after in ((2, 16, 64), (3, 64, 96), (4, 96, 128)):
        for block, coming in ((0, before), (1, after)):
            here, inner = f"conv{stage}.{block}", after // 4
            conv_norm(f"{here}.conv1", coming, inner)
            lites = ["conv2a"] + [
                f"conv2{letter}.{n}" for letter, depth in zip("bcd", (2, 3, 4), strict=True) for n in range(depth)
            ]
            for lite in lites:
                state[f"{here}.{lite}.conv1.weight"] = torch.randn(inner, inner, 1, 1)
                state[f"{here}.{lite}.conv2.weight"] = torch.randn(inner, 1, 3, 3)
                norm(f"{here}.{lite}.bn", inner)
            for layer, size in (("fc1", (inner // 16, inner)), ("fc2", (inner, inner // 16))):
                state[f"{here}.gate.{layer}.weight"] = torch.randn(*size, 1, 1)
                state[f"{here}.gate.{layer}.bias"] = torch.randn(size[0])
            conv_norm(f"{here}.conv3", inner, after)
            if coming != after:
                conv_norm(f"{here}.downsample", coming, after)
        if stage < 4:
            conv_norm(f"conv{stage}.2.0", after, after)
    conv_norm("conv5", 128, 128)
    state["fc.0.weight"], state["fc.0.bias"] = torch.randn(512, 128), torch.randn(512)
    norm("fc.1", 512)
    state["classifier.weight"], state["classifier.bias"] = torch.randn(1000, 512), torch.randn(1000)
    return state


def test_published_files_load_by_name() -> None:
    state, model = published_osnet(), model_of("osnet_x0_25")
    report = load_weights(model, state, ["classifier.*"])
    assert report.reshaped == ["classifier.bias", "classifier.weight"] and not report.missing and not report.unexpected
    embedding = model_of("embedding", backbone="osnet_x0_25")
    report = load_weights(embedding, state, ["backbone.fc.*", "backbone.classifier.*", "neck.*", "head.*"])
    assert torch.equal(embedding.backbone.conv5.conv.weight, state["conv5.conv.weight"])
    assert {k.split(".")[0] for k in report.missing} == {"neck", "head"}


@pytest.mark.parametrize("kind", [numpy.float32, numpy.float64])
def test_a_file_that_torchreid_saved_is_read(kind: Any, tmp_path: Path) -> None:
    content = {"state_dict": {"module.conv1.conv.weight": torch.ones(2, 3)}, "epoch": 3, "rank1": kind(0.5), "optimizer": {}}
    torch.save(content, tmp_path / "model.pth.tar-3")
    assert list(load_state_file(tmp_path / "model.pth.tar-3")) == ["conv1.conv.weight"]


def test_a_classifier_s_file_fills_the_backbone_and_an_embedding_s_file_all() -> None:
    classifier, model = model_of("torchvision/resnet18"), model_of("embedding", backbone="torchvision/resnet18")
    with pytest.raises(UserError, match=r"missing \(head.weight.*backbone.fc.bias.*MODEL.WEIGHTS_ALLOW"):
        load_weights(model, classifier.state_dict())
    report = load_weights(model, classifier.state_dict(), ["*fc.*", "neck.*", "head.*"])
    assert all(k.startswith("backbone.") for k in report.matched) and len(report.matched) == len(model.backbone.state_dict())
    again = model_of("embedding", backbone="torchvision/resnet18")
    assert not load_weights(again, model.state_dict()).missing


def test_parts_are_stripes_of_the_map() -> None:
    model = model_of("pcb", backbone="resnet20", parts=4, feature_dim=8).eval()
    out = model(IMAGES)
    assert out["feature"].shape == (4, 32) and model.feature_dim == 32 and out["logits"].shape == (4, 5)
    x = model.backbone(IMAGES)  # 64 x 32 pixels: 32 x 16, of which each stripe has 8 rows
    rows = x.shape[2] // 4
    for n in range(4):
        stripe = x[:, :, n * rows : (n + 1) * rows].mean(dim=(2, 3))
        assert torch.allclose(out["feature"][:, 8 * n : 8 * n + 8], model.reduce[n](stripe), atol=1e-5)
    for height, parts in ((32, 4), (24, 6), (10, 4), (7, 7)):
        wanted = nn.functional.adaptive_avg_pool2d(IMAGES[:, :, :height], (parts, 1)).flatten(2).unbind(2)
        found = stripe_means(IMAGES[:, :, :height], parts)
        assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, wanted, strict=True))
    assert model.train()(IMAGES)["logits"].shape == (4, 4, 5)
    with pytest.raises(UserError, match="parts 99: the map of resnet20 has 32 rows"):
        model_of("pcb", backbone="resnet20", parts=99)


# --- all of them train

EVERY: list[tuple[str, dict[str, Any], list[str]]] = [
    ("embedding", {"pooling": "gem", "feature_dim": 16}, ["cross_entropy", "triplet"]),
    ("embedding", {"backbone": "resnet20", "classifier": "false"}, ["arcface", "center"]),
    ("embedding", {"backbone": "resnet20", "classifier": "false", "neck": "none"}, ["circle"]),
    ("osnet_x0_25", {"classifier": "false"}, ["cosface", "triplet"]),
    ("osnet_ibn_x1_0", {}, ["cross_entropy"]),
    ("pcb", {"backbone": "resnet20", "parts": 2, "feature_dim": 8}, ["cross_entropy", "triplet"]),
]


@pytest.mark.parametrize(("name", "args", "losses"), EVERY)
@pytest.mark.parametrize("bf16", [False, True])
def test_a_step_trains_every_parameter(name: str, args: dict[str, Any], losses: list[str], bf16: bool) -> None:
    model = model_of(name, **args)
    terms = "[" + ", ".join(f"[{loss}, 1]" for loss in losses) + "]"
    words = [("MODEL.NAME", name), ("LOSS.TERMS", terms)]
    loss = build_loss(load_file(None, words), num_classes=5, model=model)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        values = loss(model(IMAGES), {"target": torch.tensor([0, 0, 1, 1])})
    torch.stack(list(values.values())).sum().backward()
    for key, parameter in [*model.named_parameters(), *loss.named_parameters()]:
        fine = parameter.grad is not None and bool(parameter.grad.isfinite().all())
        assert fine or not parameter.requires_grad, key


@pytest.mark.parametrize("name", ["embedding", "pcb", pytest.param("osnet_x0_25", marks=pytest.mark.slow)])
def test_activation_checkpointing_changes_no_bit(name: str) -> None:
    args = {} if name == "osnet_x0_25" else {"backbone": "resnet20"}
    grads = []
    for saved in ("false", "true"):
        model = model_of(name, {"MODEL.ACTIVATION_CHECKPOINTING": saved}, **args)
        model(IMAGES)["logits"].square().mean().backward()
        grads.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys() and all(torch.equal(grads[0][key], grads[1][key]) for key in grads[0])


OURS = (
    *("softmax", "mlp", "lenet", "example_model", "resnet9", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
    *("resnet_fast", "embedding", "pcb", "osnet_x0_25", "osnet_x0_5", "osnet_x0_75", "osnet_x1_0", "osnet_ibn_x1_0"),
)  # and none of a project's own, which may want other images


@pytest.mark.slow
def test_every_registered_model_makes_a_step() -> None:
    for name in OURS:
        model = model_of(name, parts=2) if name == "pcb" else model_of(name)
        loss = build_loss(load_file(None, [("MODEL.NAME", name)]), num_classes=5, model=model)
        value = loss(model(IMAGES), {"target": torch.tensor([0, 1, 2, 3])})["loss"]
        value.backward()
        assert value.isfinite() and all(p.grad is not None for p in model.parameters() if p.requires_grad), name


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """8 identities with 4 images each: one colour for each, with noise."""
    from PIL import Image

    rng = numpy.random.default_rng(0)
    for identity in range(8):
        (tmp_path / "people" / str(identity)).mkdir(parents=True)
        colour = rng.integers(0, 200, size=3)
        for n in range(4):
            pixels = colour + rng.integers(0, 40, size=(16, 8, 3))
            Image.fromarray(pixels.astype(numpy.uint8)).save(tmp_path / "people" / str(identity) / f"{n}_{n}.png")
    return tmp_path / "people"


def retrieval(people: Path, *more: str) -> list[str]:
    return [
        *("DATASETS.TRAIN", f"identity_folder:{people}", "MODEL.DEVICE", "cpu", "TEST.EVALUATOR", "retrieval"),
        *("DATALOADER.SAMPLER", "identities", "DATALOADER.INSTANCES", "2", "SOLVER.IMS_PER_BATCH", "8"),
        *("DATASETS.VAL_FRACTION", "0.3", "SOLVER.LOG_PERIOD", "1", "INPUT.SIZE_TRAIN", "[16, 8]", *more),
    ]


ARCFACE = [
    *("MODEL.NAME", "embedding", "MODEL.ARGS", "{classifier: false, pooling: gem}"),
    *("LOSS.TERMS", "[[arcface, 1, {scale: 8, margin: 0.2}], [center, 0.01]]"),
    *("SOLVER.EMA_DECAY", "0.5", "SOLVER.CHECKPOINT_PERIOD", "1"),
]


def test_losses_with_weights_are_trained_saved_and_resumed(
    people: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = retrieval(people, *ARCFACE, "SOLVER.MAX_EPOCHS", "2")
    assert train(*words)[0] == 0
    whole = newest(tmp_path / "exp")
    with monkeypatch.context() as patch:
        Stop(3)(patch)
        assert train(*words)[0] == 75
    stopped = newest(tmp_path / "exp")
    kept = torch.load(stopped / "weights" / "last.pt", weights_only=True)["loss"]
    assert kept.keys() == {"terms.0.head.weight", "terms.1.centers"}
    code, log, _ = train("--resume", str(stopped))
    assert code == 0, log
    assert_equal(final(whole), final(stopped))
    after = final(whole)["loss"]
    assert not any(torch.equal(value, after[name]) for name, value in kept.items())
    best = load_state_file(whole / "weights" / "best.pt")  # the model alone: what is compared needs no loss
    assert not any("centers" in name for name in best)
    assert train(*words, "SOLVER.MAX_EPOCHS", "1", "MODEL.WEIGHTS", str(whole / "weights" / "best.pt"))[0] == 0


@pytest.mark.slow
def test_ranks_train_losses_with_weights_together(people: Path, tmp_path: Path) -> None:
    """DDP waits for the gradient of every parameter: those of a loss, and of a model without a classifier, all have one."""
    two = launch(tmp_path / "two", *retrieval(people, *ARCFACE, "SOLVER.MAX_EPOCHS", "2"), ranks=2)
    after = final(two)["loss"]
    assert after["terms.0.head.weight"].isfinite().all()
