"""Data sets of retrieval, in the layout and with the names they are published in: who is who, who is nobody, what is said."""

from __future__ import annotations

import builtins
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from conftest import TINY, command
from PIL import Image

from config import load_file
from data import Splits, build_splits, make_data_loader
from data.dataset import Dataset
from data.identities import JUNK
from data.identity_checks import describe_identities, identity_counts
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]


def pictures(folder: Path, *names: str) -> Path:
    """A small picture for each name, each of another shade."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16), (sum(name.encode()) % 256, len(name), 0)).save(folder / name)
    return folder


def market(root: Path) -> Path:
    """Three people for training, two for test, junk and distractors, and what else lies in these folders."""
    base = root / "Market-1501-v15.09.15"
    train = [f"{who:04}_c{camera}s1_000451_0{camera}.jpg" for who in (2, 7, 10) for camera in (1, 3)]
    pictures(base / "bounding_box_train", *train, "-1_c2s1_000301_01.jpg", "0000_c2s1_000302_01.jpg")
    pictures(base / "query", "0001_c1s1_001051_00.jpg", "0003_c2s3_000001_00.jpg")
    test = ["0001_c3s1_001052_01.jpg", "0001_c1s1_001053_02.jpg", "0003_c6s4_000002_01.jpg"]
    pictures(base / "bounding_box_test", *test, "-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "0000_c4s6_000001_02.jpg")
    (base / "bounding_box_test" / "Thumbs.db").write_bytes(b"x")
    return base


def duke(root: Path) -> Path:
    """Two people for training, one for test and one whom only one camera saw."""
    base = root / "DukeMTMC-reID"
    train = [f"{who:04}_c{camera}_f0046182.jpg" for who in (1, 5) for camera in (2, 8)]
    pictures(base / "bounding_box_train", *train)
    pictures(base / "query", "0002_c1_f0000001.jpg")
    pictures(base / "bounding_box_test", "0002_c5_f0000002.jpg", "7139_c3_f0000003.jpg")
    return base


def msmt(root: Path, version: str = "V1") -> Path:
    """Two people for training, seen for validation as well, and two others of the same numbers for test."""
    base = root / "msmt17" / f"MSMT17_{version}"
    folders = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}[version]
    lists = {
        "train": [(0, 1, 0), (0, 2, 1), (1, 1, 0), (1, 15, 1)], "val": [(0, 3, 2), (1, 4, 2)],
        "query": [(0, 1, 0), (1, 2, 0)], "gallery": [(0, 5, 1), (1, 6, 1), (1, 2, 2)],
    }  # fmt: skip
    for part, rows in lists.items():
        names = [f"{who:04}/{who:04}_{n:03}_{camera:02}_0303morning_0008_{n}.jpg" for who, camera, n in rows]
        pictures(base / folders[part in ("query", "gallery")], *names)
        lines = [f"{name} {row[0]}" for name, row in zip(names, rows, strict=True)]
        (base / f"list_{part}.txt").write_text("\n".join(lines) + "\n")
    return base


def splits_of(root: Path, train: str, *words: Any) -> Splits:
    """Splits of a config; without validation, which would take some of the few identities."""
    pairs = [("DATASETS.TRAIN", train), ("DATASETS.ROOT", str(root)), ("DATASETS.VAL_FRACTION", "0")]
    return build_splits(load_file(None, [*pairs, *zip(words[::2], words[1::2], strict=True)]))


def who(dataset: Dataset) -> dict[str, tuple[str, int, str]]:
    """File name -> identity, camera, and of what it is part."""
    shown = {}
    for row, target in enumerate(dataset.targets):
        query, gallery = (dataset.facts[name][row] for name in ("query", "gallery"))
        identity = "junk" if target == JUNK else dataset.classes[target]
        shown[Path(dataset.path(row)).name] = (identity, dataset.facts["camera"][row], "q" * query + "g" * gallery)
    return shown


@pytest.mark.parametrize("above", ["", "market1501"])
def test_market_1501(above: str, tmp_path: Path) -> None:
    base = market(tmp_path / above)
    splits = splits_of(tmp_path, "market1501")
    assert splits.test is not None and splits.classes == ["0002", "0007", "0010"] and len(splits.train) == 6
    assert splits.train.target_kind == "identity" and set(splits.train.facts["camera"]) == {1, 3}
    assert who(splits.test) == {
        "0001_c1s1_001051_00.jpg": ("0001", 1, "q"), "0003_c2s3_000001_00.jpg": ("0003", 2, "q"),
        "0001_c3s1_001052_01.jpg": ("0001", 3, "g"), "0001_c1s1_001053_02.jpg": ("0001", 1, "g"),
        "0003_c6s4_000002_01.jpg": ("0003", 6, "g"), "-1_c1s1_000401_03.jpg": ("junk", 1, "g"),
        "0000_c1s1_000151_01.jpg": ("distractor", 1, "g"), "0000_c4s6_000001_02.jpg": ("distractor", 4, "g"),
    }  # fmt: skip
    assert describe_identities(splits.test) == "2 identities, 4 cameras, 2 queries, 5 gallery, 1 junk, 2 distractors"
    with pytest.raises(UserError, match=r"no image in .*images; unpack distractors_500k.zip"):
        splits_of(tmp_path, "market1501:500k")
    pictures(base / "images", "00000001.jpg", "0000_c3s1_000001_00.jpg")
    test = splits_of(tmp_path, "market1501:500k").test
    assert test is not None and identity_counts(test)["distractors"] == 4 and min(test.facts["camera"]) >= 0


def test_dukemtmc_reid(tmp_path: Path) -> None:
    duke(tmp_path)
    splits = splits_of(tmp_path, "dukemtmc_reid")
    assert splits.classes == ["0001", "0005"] and splits.test is not None
    assert who(splits.test) == {
        "0002_c1_f0000001.jpg": ("0002", 1, "q"), "0002_c5_f0000002.jpg": ("0002", 5, "g"),
        "7139_c3_f0000003.jpg": ("7139", 3, "g"),
    }  # fmt: skip


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_msmt17(version: str, tmp_path: Path) -> None:
    msmt(tmp_path, version)
    splits = splits_of(tmp_path, "msmt17")
    assert splits.classes == ["train/0000", "train/0001"] and len(splits.train) == 4 and splits.test is not None
    assert sorted(splits.train.facts["camera"]) == [1, 1, 2, 15]
    assert identity_counts(splits.test) == {
        "identities": 2, "cameras": 4, "queries": 2, "gallery": 3, "junk": 0, "distractors": 0
    }  # fmt: skip
    whole = splits_of(tmp_path, "msmt17", "DATASETS.COMBINE_ALL", "true").train
    assert len(whole) == 11 and list(whole.classes) == ["test/0000", "test/0001", "train/0000", "train/0001"]
    other = "V2" if version == "V1" else "V1"
    with pytest.raises(UserError, match=f"msmt17:{other}: .*is missing.*list_val.txt"):
        splits_of(tmp_path, f"msmt17:{other}")


def cuhk(root: Path, kind: str = "detected") -> Path:
    """Three people of two pairs of cameras; the third is for test in the new protocol, the first in the old split 1."""
    from scipy.io import savemat

    base = root / "cuhk03"
    people = ("1_001", "1_002", "2_001")
    names = [f"{person}_{view}_{number:02}.png" for person in people for view, number in ((1, 1), (1, 2), (2, 6))]
    pictures(base / f"images_{kind}", *names)
    cells = numpy.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    columns = {"train_idx": [1, 2, 3, 4, 6], "query_idx": [7], "gallery_idx": [8, 9], "labels": [1, 1, 1, 2, 2, 2, 5, 5, 5]}
    rows = {name: numpy.array(values)[:, None] for name, values in columns.items()}
    savemat(base / f"cuhk03_new_protocol_config_{kind}.mat", {"filelist": cells, **rows})
    return base


def test_cuhk03_by_the_new_protocol(tmp_path: Path) -> None:
    cuhk(tmp_path)
    splits = splits_of(tmp_path, "cuhk03")
    assert splits.classes == ["0001", "0002"] and len(splits.train) == 5 and splits.test is not None
    assert who(splits.test) == {
        "2_001_1_01.png": ("0005", 1, "q"), "2_001_1_02.png": ("0005", 1, "g"), "2_001_2_06.png": ("0005", 2, "g")
    }  # fmt: skip
    with pytest.raises(UserError, match=r"cuhk-03.mat is missing; unpack cuhk03_release.zip"):
        splits_of(tmp_path, "cuhk03:labeled")
    with pytest.raises(UserError, match=r"write cuhk03\["):
        splits_of(tmp_path, "cuhk03:labelled")
    (tmp_path / "cuhk03" / "images_detected" / "2_001_2_06.png").unlink()
    with pytest.raises(UserError, match=r"names 2_001_2_06.png, which is not among the images"):
        splits_of(tmp_path, "cuhk03")


def test_cuhk03_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "cuhk03" / "cuhk03_release"
    release.mkdir(parents=True)
    (release / "cuhk-03.mat").write_bytes(b"x")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="needs h5py; pip install h5py"):
        splits_of(tmp_path, "cuhk03")


def test_cuhk03_is_taken_out_of_its_file(tmp_path: Path) -> None:
    import h5py

    base = tmp_path / "cuhk03"
    (base / "cuhk03_release").mkdir(parents=True)
    with h5py.File(base / "cuhk03_release" / "cuhk-03.mat", "w") as file:

        def cell(name: str, values: list[Any]) -> Any:
            refs = [file.create_dataset(f"#{name}{n}", data=value).ref for n, value in enumerate(values)]
            return numpy.array(refs, dtype=h5py.ref_dtype)

        image = numpy.arange(3 * 4 * 6, dtype=numpy.uint8).reshape(3, 4, 6)  # as MATLAB has it: 3 x width x height
        empty = numpy.zeros(2, numpy.uint64)
        pairs = []
        for pair, people in enumerate((2, 1)):
            images = [cell(f"p{pair}{n}", [image + n if i in (0, 5, 9) else empty for i in range(10)]) for n in range(people)]
            pairs.append(numpy.stack(images, axis=1))
        for kind in ("detected", "labeled"):
            file[kind] = cell(kind, pairs)[None]
        file["testsets"] = cell("tests", [numpy.array([[1.0], [2.0]]), numpy.array([[1, 2], [1, 1]], dtype=float)])[None]
    splits = splits_of(tmp_path, "cuhk03:labeled,classic")
    assert splits.classes == ["1_001", "2_001"] and len(splits.train) == 6 and splits.test is not None
    assert torch.equal(splits.test[0]["image"], torch.from_numpy(image + 1).permute(0, 2, 1))
    assert set(who(splits.test).values()) == {("1_002", 1, "qg"), ("1_002", 2, "qg")}
    assert not [path for path in base.iterdir() if path.name.startswith(".")]
    test = splits_of(tmp_path, "cuhk03:classic,1", "DATASETS.TRAIN", "cuhk03:classic").test
    assert test is not None


def omniglot(root: Path, *alphabets: str) -> Path:
    """Two characters each, by three drawers."""
    for number, alphabet in enumerate(alphabets):
        for character in (1, 2):
            for drawer in (1, 2, 3):
                file = root / alphabet / f"character{character:02}" / f"{2 * number + character:04}_{drawer:02}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = numpy.full((105, 105), 255, numpy.uint8)
                pixels[number, :drawer] = 0
                Image.fromarray(pixels).convert("1").save(file)
    return root


def test_omniglot_lies_in_memory_and_parts_alphabets(tmp_path: Path) -> None:
    omniglot(tmp_path / "omniglot", "Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
    splits = splits_of(tmp_path, "omniglot")
    assert splits.test is not None
    assert {name.split("/")[0] for name in splits.classes} == {"Balinese", "Greek", "Latin"}
    assert {name.split("/")[0] for name in splits.test.classes} == {"Early_Aramaic", "Korean"}
    assert set(who(splits.test).values()) >= {("Korean/character01", drawer, "qg") for drawer in (1, 2, 3)}
    arrays = splits.train.arrays()
    assert arrays is not None and arrays[0].shape == (18, 1, 105, 105) and set(arrays[0].unique().tolist()) == {0, 255}
    words = [("DATASETS.TRAIN", "omniglot"), ("DATASETS.ROOT", str(tmp_path)), ("SOLVER.IMS_PER_BATCH", "7")]
    for moves in ("[]", "[PadCrop, RandomHorizontalFlip]"):
        batches = {}
        for loader in ("memory", "processes"):
            cfg = load_file(None, [*words, ("DATALOADER.LOADER", loader), ("INPUT.TRANSFORMS_TRAIN", moves)])
            batches[loader] = [batch for split in ("train", "test") for batch in make_data_loader(cfg, split, splits)]
        for one, other in zip(batches["memory"], batches["processes"], strict=True):
            assert one.keys() == other.keys() >= {"camera", "source", "query", "gallery"}
            assert all(torch.equal(one[name], other[name]) for name in one)
    chosen = splits_of(tmp_path, "omniglot:Greek,Latin", "DATASETS.TEST", "omniglot:Korean")
    assert chosen.test is not None and chosen.num_classes == 4 and len(chosen.test) == 6
    assert splits_of(tmp_path, "omniglot", "DATASETS.COMBINE_ALL", "true").num_classes == 10
    with pytest.raises(UserError, match="no alphabet 'Klingon'; there are Balinese"):
        splits_of(tmp_path, "omniglot:Klingon")


def test_omniglot_as_it_is(shared: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared / "omniglot" / "images_background_small1.zip") as file:
        file.extractall(tmp_path / "omniglot")
    splits = splits_of(tmp_path, "omniglot")
    assert splits.test is not None
    assert describe_identities(splits.train) == "74 identities, 20 cameras, 1480 queries, 1480 gallery"
    assert describe_identities(splits.test) == "62 identities, 20 cameras, 1240 queries, 1240 gallery"
    assert splits.train[0]["image"].float().div(255).mean().item() == pytest.approx(0.92, abs=0.03)


def test_omniglot_as_a_whole(tmp_path: Path) -> None:
    omniglot(tmp_path / "omniglot-py" / "images_background", "Greek", "Latin")
    omniglot(tmp_path / "omniglot-py" / "images_evaluation", "Angelic", "Tengwar")
    splits = splits_of(tmp_path, "omniglot")
    assert splits.test is not None
    assert [{name.split("/")[0] for name in part.classes} for part in (splits.train, splits.test)] == [
        {"Greek", "Latin"}, {"Angelic", "Tengwar"}
    ]  # fmt: skip


def test_folders_of_identities(tmp_path: Path) -> None:
    names = [f"{identity}/0709_{camera:02}.png" for identity in ("a/x", "a/y", "b", "c", "d") for camera in (1, 2)]
    pictures(tmp_path / "flat", *names)
    splits = splits_of(tmp_path, f"identity_folder:{tmp_path / 'flat'}")
    assert splits.test is not None and len(splits.train.classes) == 3  # two are held out: one alone is found by every model
    assert sorted([*splits.classes, *splits.test.classes]) == ["a/x", "a/y", "b", "c", "d"]
    assert {row[1:] for row in who(splits.test).values()} == {(1, "qg"), (2, "qg")}
    lettered = pictures(tmp_path / "lettered", *(f"{who}/7_c{camera}.png" for who in "abc" for camera in (1, 2)))
    assert set(splits_of(tmp_path, f"identity_folder:{lettered}").train.facts["camera"]) == {1, 2}
    base = pictures(tmp_path / "parts", "train/a/1_1.png", "train/b/2_2.png", "query/c/3_1.png", "gallery/c/4_2.png")
    test = splits_of(tmp_path, f"identity_folder:{base}").test
    assert test is not None and who(test) == {"3_1.png": ("c", 1, "q"), "4_2.png": ("c", 2, "g")}
    whole = splits_of(tmp_path, f"identity_folder:{base}", "DATASETS.COMBINE_ALL", "true")
    assert whole.classes == ["a", "b", "c"] and len(whole.train) == 4
    pictures(tmp_path / "tested", "train/a/1_1.png", "train/b/2_2.png", "test/c/3_1.png", "test/c/4_2.png")
    test = splits_of(tmp_path, f"identity_folder:{tmp_path / 'tested'}").test
    assert test is not None and set(who(test).values()) == {("c", 1, "qg"), ("c", 2, "qg")}


def test_several_sources_and_others_for_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    market(tmp_path), duke(tmp_path), msmt(tmp_path)
    splits = splits_of(tmp_path, "[market1501, dukemtmc_reid]", "DATASETS.TEST", "[msmt17, market1501]")
    assert splits.classes == [
        "market1501/0002", "market1501/0007", "market1501/0010", "dukemtmc_reid/0001", "dukemtmc_reid/0005"
    ]  # fmt: skip
    cameras = {(s, c) for s, c in zip(splits.train.facts["source"], splits.train.facts["camera"], strict=True)}
    assert cameras == {(0, 1), (0, 3), (1, 4 + 2), (1, 4 + 8)}
    sample = splits.train[6]
    assert (sample["target"], sample["source"], sample["camera"]) == (3, 1, 6)
    assert splits.test is not None
    assert describe_identities(splits.test) == "4 identities, 8 cameras, 4 queries, 8 gallery, 1 junk, 2 distractors"
    assert not caplog.records
    combined = splits_of(tmp_path, "[market1501, dukemtmc_reid]", "DATASETS.COMBINE_ALL", "true", "DATASETS.TEST", "msmt17")
    assert len(combined.train) == 6 + 5 + 4 + 3 and not any("distractor" in name for name in combined.classes)
    assert min(combined.train.targets) == 0 and not [r for r in caplog.records if "trained on as well" in r.message]
    splits_of(tmp_path, "[market1501, dukemtmc_reid]", "DATASETS.COMBINE_ALL", "true", "DATASETS.TEST", "market1501")
    assert "2 identities of the test split are trained on as well" in caplog.text
    assert "market1501/0001, market1501/0003" in caplog.text
    assert "have one image for training: dukemtmc_reid/7139" in caplog.text


@pytest.mark.parametrize("name", ["market1501", "dukemtmc_reid", "cuhk03", "msmt17", "msmt17:V2"])
def test_a_missing_set_is_one_line_that_says_where_it_belongs(name: str, train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*TINY, "DATASETS.TRAIN", name, "DATASETS.ROOT", str(tmp_path / "none"))
    said = [line for line in error.splitlines() if "error" in line]
    assert code == 2 and "Traceback" not in error and len(said) == 1, error
    assert str(tmp_path / "none") in error and "is missing" in error and "authors" in error and "DATASETS.ROOT" in error


def test_omniglot_without_data_or_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise OSError("no network")

    fake = SimpleNamespace(datasets=SimpleNamespace(Omniglot=offline))
    monkeypatch.setitem(sys.modules, "torchvision", fake)  # the real one takes long to import
    with pytest.raises(UserError, match=r"could not be downloaded \(no network\); unpack images_background.zip"):
        splits_of(tmp_path, "omniglot")


def spoil(base: Path, what: str) -> None:
    """Makes of a Market-1501 folder a bad one."""
    if what.endswith("/"):
        for file in (base / what).iterdir():
            file.unlink()
    else:
        pictures(base, what)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("query/", "no image in .*query"),
        ("bounding_box_train/", "no image in .*bounding_box_train"),
        ("bounding_box_test/0001_c7s1_001051_00.jpg", "0001_c7s1_001051_00.jpg is not as published, such as 0002_c1s1"),
        ("query/holiday.png", "holiday.png is not as published"),
    ],
)
def test_a_spoilt_set_names_the_file(what: str, said: str, tmp_path: Path) -> None:
    spoil(market(tmp_path), what)
    with pytest.raises(UserError, match=said):
        splits_of(tmp_path, "market1501")


def test_a_spoilt_list_names_its_line(tmp_path: Path) -> None:
    base = msmt(tmp_path)
    file = base / "list_query.txt"
    lines = file.read_text()
    file.write_text(lines + "0001/morning.jpg 1\n")
    with pytest.raises(UserError, match=r"list_query.txt:3: '0001/morning.jpg 1' is no line as published"):
        splits_of(tmp_path, "msmt17")
    file.write_text(lines.replace("0303", "0404"))
    with pytest.raises(UserError, match=r"0404morning_0008_0.jpg is missing, which list_query.txt names"):
        splits_of(tmp_path, "msmt17")
    file.write_text("")
    with pytest.raises(UserError, match=r"list_query.txt names no image"):
        splits_of(tmp_path, "msmt17")


def test_sets_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    market(tmp_path)
    folder = pictures(tmp_path / "own", "a/1_1.png", "a/2_2.png", "b/1_1.png", "b/2_2.png")
    with pytest.raises(UserError, match="has no test part and market1501 has one; name the test sets in DATASETS.TEST"):
        splits_of(tmp_path, f"[market1501, 'identity_folder:{folder}']")
    with pytest.raises(UserError, match="is in market1501 and in market1501; name each data set once"):
        splits_of(tmp_path, "[market1501, market1501]")


def test_an_image_that_is_trained_and_tested_on_under_two_names_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(market(tmp_path) / "images", "distractor_1.jpg")
    splits_of(tmp_path, "market1501", "DATASETS.COMBINE_ALL", "true", "DATASETS.TEST", "market1501:500k")
    assert "images of the test split are trained on as well" in caplog.text


def test_the_digest_of_several_sets_changes_with_their_files(tmp_path: Path) -> None:
    folders = [pictures(tmp_path / name, "a/1_1.png", "a/2_2.png", "b/1_1.png", "b/2_2.png") for name in ("one", "two")]
    both = "[" + ", ".join(f"'identity_folder:{folder}'" for folder in folders) + "]"
    before = splits_of(
        tmp_path, both, "DATASETS.VAL_FRACTION", "0", "DATASETS.TEST", f"identity_folder:{folders[0]}"
    ).train.digest()
    Image.new("RGB", (40, 50)).save(folders[1] / "b" / "2_2.png")
    after = splits_of(
        tmp_path, both, "DATASETS.VAL_FRACTION", "0", "DATASETS.TEST", f"identity_folder:{folders[0]}"
    ).train.digest()
    assert before != after


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train/a/1_1.png", "train/b/2_2.png", "query/c/3_1.png"], r"query/ without gallery/ \(or test/\)"),
        (["train/a/1_1.png", "train/b/2_2.png", "gallery/c/1_1.png", "query/3_1.png"], "3_1.png lies in no identity's folder"),
        (["a/1_1.png", "a/2_2.png", "b/1_1.png", "b/two.png"], "1 of 4 images end in no camera's number, such as .*two.png"),
        (["query/c/3_1.png", "gallery/c/3_2.png"], "no images below"),
        (["train/a/1_1.png", "train/b/2_2.png", "gallery/c/3_1.png", "test/c/4_2.png"], "gallery/ and test/ are both there"),
        (["train/a/1_1.png", "train/a/2_2.png", "test/c/3_1.png", "test/c/4_2.png"], "1 identities for training"),
        (
            ["a/0002_c1s1_000451_03.png", "a/0002_c2s1_000452_01.png", "b/7_c1s1_000451_01.png"],
            "camera 1, and 3, the number after the last _, would be taken; if this is market1501, name that data set, else put",
        ),
        (["a/0001_c2_f0046182.png", "b/0002_c1_f05.png"], "by camera 2, and 46182,.* if this is dukemtmc_reid, name"),
        (["a/0000_000_01_0303morning_0008_0.png", "b/0001_000_15_0303noon_8_1.png"], "by camera 01, and 0,.* msmt17"),
        (["a/x_cam1_7.png", "b/x_cam2_8.png"], "by camera 1, and 7, .*taken; put the camera last, as in x_001_c1.png"),
        (["a/x_cam1_left.png", "b/x_cam2_left.png"], "by camera 1, and none would be taken; put the camera last"),
    ],
)
def test_bad_folders_are_one_line(names: list[str], said: str, tmp_path: Path) -> None:
    base = pictures(tmp_path / "bad", *names)
    with pytest.raises(UserError, match=said):
        splits_of(tmp_path, f"identity_folder:{base}")


def test_identities_with_one_image_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["train/a/1_1.png", "train/b/2_2.png", "train/b/3_1.png", "query/c/3_1.png", "gallery/c/4_2.png"]
    splits_of(tmp_path, f"identity_folder:{pictures(tmp_path / 'some', *names)}")
    assert "1 of 2 identities" in caplog.text and "have one image for training: a" in caplog.text


@pytest.mark.slow
def test_analyze_says_who_is_in_the_splits(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    market(tmp_path)
    words = ["DATASETS.TRAIN", "market1501", "DATASETS.ROOT", str(tmp_path), "DATASETS.VAL_FRACTION", "0", "NAME", "market"]
    done = command(str(root / "tools" / "analyze.py"), "data", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells = {tuple(line.replace("│", " ").split()) for line in done.stdout.splitlines()}
    rows = {("identities", "3", "2"), ("queries", "6", "2"), ("junk", "0", "1"), ("distractors", "0", "2"), ("all", "6", "8")}
    assert cells >= rows, done.stdout
