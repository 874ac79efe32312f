"""The config is typed, checked, frozen and knows where each value came from; YAML's and yacs' traps are closed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import config
from utils.errors import UserError

CLASSIC = """
MODEL:
  NUM_CLASSES: 10
  DEVICE: "cpu"
INPUT:
  SIZE_TRAIN: [28, 28]
  SIZE_TEST: [28, 28]
  MIN_SCALE_TRAIN: 0.5
  MAX_SCALE_TRAIN: 1.2
  PROB: 0.5
  PIXEL_MEAN: [0.1307, ]
  PIXEL_STD: [0.3081, ]
DATASETS:
  TRAIN: ("mnist")
  TEST: ("mnist")
DATALOADER:
  NUM_WORKERS: 8
SOLVER:
  OPTIMIZER_NAME: "SGD"
  MAX_EPOCHS: 50
  BASE_LR: 0.001
  BIAS_LR_FACTOR: 2
  MOMENTUM: 0.9
  WEIGHT_DECAY: 0.0005
  WEIGHT_DECAY_BIAS: 0
  GAMMA: 0.1
  STEPS: (30000,)
  WARMUP_FACTOR: 0.3333333
  WARMUP_ITERS: 500
  WARMUP_METHOD: "linear"
  CHECKPOINT_PERIOD: 10
  LOG_PERIOD: 100
  IMS_PER_BATCH: 16
TEST:
  IMS_PER_BATCH: 8
  WEIGHT: ""
OUTPUT_DIR: ""
"""


def load(tmp_path: Path, text: str) -> config.Config:
    """The config of a YAML text."""
    path = tmp_path / "x.yml"
    path.write_text(text)
    return config.load_file(path)


def test_a_yaml_of_the_classic_template_loads_as_it_is(tmp_path: Path) -> None:
    cfg = load(tmp_path, CLASSIC)
    assert cfg.DATASETS.TRAIN == ("mnist",) and cfg.SOLVER.STEPS == (30000,) and cfg.SOLVER.SCHEDULE == "multi_step"
    assert cfg.SOLVER.BIAS_LR_FACTOR == 2.0 and cfg.INPUT.PIXEL_MEAN == (0.1307,)
    defaults = config.load_file(None)
    assert defaults.DATASETS.TRAIN == ("mnist",) and defaults.MODEL.NAME == "example_model"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E5", 1e5), ("1", 1.0), (".5", 0.5), ("+2.5e+1", 25.0)],
)
def test_numbers_mean_what_they_look_like(text: str, value: float, tmp_path: Path) -> None:
    assert value == load(tmp_path, f"SOLVER:\n  BASE_LR: {text}\n").SOLVER.BASE_LR
    assert value == config.load_file(None, [("SOLVER.BASE_LR", text)]).SOLVER.BASE_LR


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SOLVER:\n  BASE_LR: null\n", "x.yml:2: null fits no key"),
        ("SOLVER:\n  BASE_LR:\n", "x.yml:2: null fits no key"),
        ("SOLVER:\n  BASE_LR: .nan\n", "x.yml:2: SOLVER.BASE_LR expects a number above 0"),
        ("SOLVER:\n  BASE_LR: -1\n", "x.yml:2"),
        ("SOLVER:\n  MAX_EPOCHS: 1.5\n", "expects a whole number"),
        ("SOLVER:\n  MAX_EPOCHS: 010\n", "x.yml:2: 010"),
        ("SOLVER:\n  MAX_EPOCHS: 1:30\n", "expects a whole number"),
        ("DETERMINISTIC: yes\n", "expects true or false"),
        ("SEED: 1\nSEED: 2\n", "x.yml:2: SEED is given twice"),
        ("SOLVER:\n  BASE_LT: 1\n", "x.yml:2: unknown key SOLVER.BASE_LT; did you mean SOLVER.BASE_LR"),
        ("SLOVER:\n  BASE_LR: 1\n", "x.yml:1: unknown key SLOVER; did you mean SOLVER"),
        ("SOLVER: 3\n", "x.yml:1: SOLVER is a section"),
        ("- 1\n", "a config is a mapping"),
        ("NAME: !!python/object/apply:os.system ['touch evil']\n", "is not allowed"),
        ("NAME: !!python/name:os.system\n", "is not allowed"),
        ("NAME: [\n", "no valid YAML"),
        ("NAME: a\tb: c\n", "no valid YAML"),
        ("SOLVER:\n  PRECISION: fp8\n", "one of fp32, bf16, fp16"),
        ("_BASE_: nowhere.yml\n", "does not exist"),
        ("_BASE_: x.yml\n", "circle"),
        ("NAME: '" + "x" * 101 + "'\n", "a run's name"),
        ("A: " + "[" * 3000 + "]" * 3000, "nested deeper"),
    ],
)
def test_what_does_not_fit_names_file_line_and_remedy(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, text)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not Path("evil").exists()


def test_python_files_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(f"open({str(tmp_path / 'evil')!r}, 'w')")
    with pytest.raises(UserError, match="never read"):
        config.load_file(tmp_path / "x.py")
    assert not (tmp_path / "evil").exists()


def test_bases_merge_in_order_and_origins_tell_who_won(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("SEED: 1\nSOLVER:\n  BASE_LR: 1\n  GAMMA: 0.5\n")
    (tmp_path / "b.yml").write_text("SOLVER:\n  BASE_LR: 2\n")
    cfg = load(tmp_path, "_BASE_: [a.yml, b.yml]\nSOLVER:\n  MAX_EPOCHS: 7\n")
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA, cfg.SOLVER.MAX_EPOCHS) == (1, 2.0, 0.5, 7)
    assert cfg.origins["SOLVER.BASE_LR"].endswith("b.yml:2") and cfg.origins["SEED"].endswith("a.yml:1")
    assert cfg.origins["MODEL.NAME"] == "default" and cfg.NAME == "x" and cfg.origins["NAME"] == "derived"


def test_pairs_win_over_flags_wherever_they_stand() -> None:
    args = config.parse_arguments(["SEED", "3", "--seed", "4", "--learning_rate", "0.5", "SOLVER.MOMENTUM=0"])
    cfg = config.load(args)
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.SOLVER.MOMENTUM) == (3, 0.5, 0.0)
    assert cfg.origins["SOLVER.BASE_LR"] == "flag --learning-rate"
    assert config.load(config.parse_arguments(["--save_dir", "mine"])).NAME == "mine"


def test_frozen_is_frozen_deeply() -> None:
    cfg = config.load_file(None, [("SOLVER.OPTIMIZER_ARGS", "{nesterov: true}")])
    attempts = [
        lambda: setattr(cfg, "SEED", 1),
        lambda: setattr(cfg.SOLVER, "BASE_LR", 1),
        lambda: cfg.SOLVER.__setitem__("BASE_LR", 1),
        lambda: cfg.SOLVER.update(BASE_LR=1),
        lambda: cfg.SOLVER.pop("BASE_LR"),
        lambda: cfg.__delitem__("SEED"),
        lambda: cfg.merge_from_list(["SEED", 1]),
        lambda: cfg.SOLVER.OPTIMIZER_ARGS.update(a=1),
        lambda: cfg.SOLVER.clear(),
    ]
    for attempt in attempts:
        with pytest.raises(AttributeError):
            attempt()
    assert cfg.SOLVER.BASE_LR == 0.01


def test_dump_loads_to_an_equal_config(tmp_path: Path) -> None:
    words = [("SOLVER.BASE_LR", "1e-5"), ("NAME", "123"), ("MODEL.WEIGHTS", "a b: c # d"), ("SOLVER.STEPS", "[3, 5]")]
    words += [("INPUT.TRANSFORMS_TRAIN", "[{PadCrop: {padding: 2}}, Flip]"), ("MODEL.DEVICE", "cuda:1"), ("OUTPUT_DIR", "é/on")]
    cfg = config.load_file(None, words)
    again = load(tmp_path, config.dump(cfg))
    assert again.flat() == cfg.flat() and config.digest(again) == config.digest(cfg)
    assert "BASE_LR: 1e-05  # command line" in config.dump(cfg)


def test_digest_tells_experiments_from_repeats() -> None:
    base = config.digest(config.load_file(None))
    assert config.digest(config.load_file(None, [("SEED", "5"), ("DATALOADER.NUM_WORKERS", "2"), ("NAME", "b")])) == base
    assert config.digest(config.load_file(None, [("SOLVER.BASE_LR", "0.02")])) != base


def test_unread_keys_are_known() -> None:
    cfg = config.load_file(None, [("SOLVER.GAMMA", "0.5"), ("SEED", "1")])
    assert set(cfg.unread()) == {"SOLVER.GAMMA", "SEED"}
    assert cfg.SEED == 1 and cfg.unread() == ["SOLVER.GAMMA"]


def test_old_run_configs_stay_readable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.yml").write_text("SEED: 3\nGONE: 1\nSOLVER:\n  ALSO_GONE: 2\n  BASE_LR: 0.5\n")
    cfg = config.load_run(tmp_path / "config.yml")
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.MODEL.NAME) == (3, 0.5, "example_model")


KEYS = st.sampled_from([*config.load_file(None).flat(), "SOLVER", "NOPE", "SOLVER.NOPE", "_BASE_"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["1e-3", "yes", "010", "1:30", "2026-11-24", "!!python/name:os.system", "*a", "&a [*a]", "{", "<<"]),
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(max_size=6), c, max_size=4))


def outcome(act: object) -> None:
    """A config, or one line; never anything else, never more than 5 s of this processor."""
    start = time.process_time()
    try:
        assert callable(act)
        act()
    except UserError as error:
        assert "\n" not in str(error) and str(error)
    assert time.process_time() - start < 5


def check_document(text: str, folder: Path) -> None:
    """Loads a text as a YAML file."""
    (folder / "fuzz.yml").write_text(text, encoding="utf-8", errors="replace")
    outcome(lambda: config.load_file(folder / "fuzz.yml"))


def fuzz(examples: int, folder: Path) -> None:
    """Random documents, structured and not, and random command lines."""
    import yaml

    quiet = settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
    )

    @quiet
    @given(st.dictionaries(KEYS, VALUES, max_size=4))
    def documents(tree: dict[str, object]) -> None:
        nested: dict[str, object] = {}
        for key, value in tree.items():
            head, _, rest = key.partition(".")
            inner = nested.setdefault(head, {}) if rest else None
            if isinstance(inner, dict):
                inner[rest] = value
            else:
                nested[head] = value
        check_document(yaml.safe_dump(nested), folder)

    @quiet
    @given(st.text(alphabet=st.sampled_from(list("SEDOLVR_BA.:-[]{}!&*'\"#|>%@ \n\t0123456789eE+~,?é\x00")), max_size=120))
    def texts(text: str) -> None:
        check_document(text, folder)

    @quiet
    @given(
        st.lists(st.one_of(KEYS, SCALARS.map(str), st.sampled_from(["--seed", "--why=x", "--name", "-1", "A=B"])), max_size=6)
    )
    def commands(words: list[str]) -> None:
        words = [w for w in words if not w.startswith(("-h", "--h"))]
        outcome(lambda: config.load(config.parse_arguments(words)))

    documents()
    texts()
    commands()


def test_random_input_is_a_config_or_one_line(tmp_path: Path) -> None:
    fuzz(150, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "fuzz.yml"]


@pytest.mark.parametrize("value", ["&a [*a]", "&a {b: *a}", "&a [[*a]]"])
def test_an_alias_that_contains_itself_is_one_line(value: str) -> None:
    with pytest.raises(UserError, match="contains itself"):
        config.load_file(None, [("DATASETS.TRAIN", value)])


@pytest.mark.slow
def test_thousands_of_random_inputs_are_configs_or_one_line(tmp_path: Path) -> None:
    fuzz(1000, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "fuzz.yml"]


@pytest.mark.parametrize("recipe", sorted(path.name for path in (ROOT / "configs").glob("*.yml")))
def test_every_recipe_can_be_sent_to_other_ranks(recipe: str) -> None:
    import pickle

    values = config.load(config.parse_arguments(["--config-file", str(ROOT / "configs" / recipe)])).flat()
    assert pickle.loads(pickle.dumps(values)) == values
