"""Folders for the Hugging Face Hub: the same images from them, and a card with what the run has on record."""

import json
import re
import shlex
import shutil

import jax
import numpy as np
import onnx
import pytest
from helpers import RECIPE, all_files, assert_same_bits, evaluation_row, one_error_line, run_cli
from safetensors.numpy import load_file, save_file
from test_interop import moved
from test_pytorch import narrow_state, small_averaged_run, weights  # noqa: F401  # a fixture

from dcgan_jax import Generator, TrainConfig, averaged, init_state, load_pretrained, load_run, sample
from dcgan_jax.evaluation.classifier import SHA256
from dcgan_jax.interop import WeightsError
from dcgan_jax.pretrained import evaluation_of, hub
from dcgan_jax.pretrained.hub import About, export_hub
from dcgan_jax.pretrained.model_card import hub_dataset, metrics_of, repository_name
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run import create_run, with_weights

FILES = ["README.md", "config.json", "model.safetensors", "samples.png"]


@pytest.fixture(scope="module")
def recorded_run(small_averaged_run, tmp_path_factory):  # noqa: F811
    """A run with a moving average, and evaluations of its checkpoint and of other weights."""
    run_dir = shutil.copytree(small_averaged_run, tmp_path_factory.mktemp("recorded") / "run")
    rows = [
        {**evaluation_row(0, 9.0, features=SHA256), "weights": "last"},
        {**evaluation_row(0, 7.0, features=SHA256), "weights": "average 0.9"},
        {**evaluation_row(0, 0.00003, features=SHA256), "weights": "average 0.9"},  # of the run that was resumed
        {**evaluation_row(500, 1.0, features=SHA256), "weights": "average 0.9"},
    ]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run_dir


@pytest.fixture(scope="module")
def folder(recorded_run):
    """The folder that the command writes of it."""
    out = recorded_run.parent / "my-gan"
    assert run_cli("export", recorded_run, "--format", "hub", "--license", "cc-by-4.0", "--out", out) == 0
    return out


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copied")


def front_matter(path):
    yaml = pytest.importorskip("yaml")
    start, text, _ = (path / "README.md").read_text().split("---\n", 2)
    assert start == ""
    return yaml.safe_load(text)


def test_images_are_the_same_to_the_bit(folder, recorded_run, tmp_path, capsys):
    for out, source in (("run.png", recorded_run), ("hub.png", folder)):
        assert run_cli("sample", source, "--no-labels", "--out", tmp_path / out) == 0
    drawn = [(tmp_path / name).read_bytes() for name in ("run.png", "hub.png")]
    assert [*drawn, (folder / "samples.png").read_bytes()] == drawn[:1] * 3
    assert f"16 images of the weights in {folder}" in capsys.readouterr().out
    expected, found = averaged(load_run(recorded_run).state), load_pretrained(folder)
    assert_same_bits(weights(found), weights(expected))
    key = jax.random.key(7)
    assert_same_bits(sample(load_pretrained(str(folder)), key, 3), sample(expected, key, 3))


def test_card_has_what_the_hub_reads(folder):
    """The scores of these weights alone: those of another step and of the last weights are left out."""
    assert sorted(all_files(folder)) == FILES
    read = front_matter(folder)
    assert read["license"] == "cc-by-4.0"
    assert read["library_name"] == "dcgan-jax"
    assert read["pipeline_tag"] == "unconditional-image-generation"
    assert read["datasets"] == ["ylecun/mnist"]
    assert {"gan", "jax"} <= set(read["tags"])
    (index,) = read["model-index"]
    (result,) = index["results"]
    assert index["name"] == "my-gan"
    scores = [(each["type"], each["value"]) for each in result["metrics"]]
    assert scores == [("fid", 0.00003), ("fid", 0.00006), ("precision", 0.5)]
    assert "10,000 images, in the features of a classifier of digits" in result["metrics"][0]["name"]


def test_hub_reads_the_card(folder):
    """By the Hub's own library, results included."""
    hub_library = pytest.importorskip("huggingface_hub")
    card = hub_library.ModelCard.load(folder / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.model_name == "my-gan"
    fid, second, precision = card.data.eval_results
    assert all(isinstance(each, hub_library.EvalResult) for each in card.data.eval_results)
    assert (fid.metric_type, fid.metric_value, fid.task_type) == ("fid", 0.00003, "unconditional-image-generation")
    assert (second.metric_value, precision.metric_value) == (0.00006, 0.5)
    assert hub_library.ModelCard(str(card)).data.to_dict() == card.data.to_dict()


@pytest.mark.parametrize(
    ("folder_name", "expected"),
    [
        ("my-gan_1.5", "my-gan_1.5"),
        ("gan's folder", "gan-s-folder"),
        ("-cats & dogs--2..3.", "cats-dogs-2.3"),
        ("고양이 v2.git", "v2-git"),
        ("새", "dcgan"),
        ("a-.git-", "a-git"),
        ("_._", "_._"),
        ("a" * 95 + ".b", "a" * 95),
    ],
)
def test_repositories_have_names_that_the_hub_takes(folder_name, expected):
    assert repository_name(folder_name) == expected
    pytest.importorskip("huggingface_hub.utils").validate_repo_id(f"USER/{expected}")


def test_card_of_the_package_has_its_scores(tmp_path):
    assert run_cli("export", "mnist", "--format", "hub", "--out", tmp_path / "mnist") == 0
    (result,) = front_matter(tmp_path / "mnist")["model-index"][0]["results"]
    scores = evaluation_of("mnist")["scores"]
    for metric, key in zip(result["metrics"][:2], ("fid", "second_fid"), strict=True):
        assert metric["value"] == pytest.approx(scores[key], abs=1e-6)


def test_without_scores_the_card_has_none(small_averaged_run, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "gan's folder"
    assert run_cli("export", small_averaged_run, "--format", "hub", "--out", out) == 0
    read = front_matter(out)
    assert "model-index" not in read
    assert read["license"] == "unknown"
    card = (out / "README.md").read_text()
    assert "None is on record of these weights." in card
    assert f"hf download USER/gan-s-folder --local-dir {shlex.quote('./' + out.name)} " in card
    where = f"'{out.parent}/gan'\"'\"'s folder'"
    assert f"upload it with: hf upload USER/gan-s-folder {where}\n" in capsys.readouterr().out


def test_no_path_is_published(folder, recorded_run):
    """Neither of the run nor of its images: a folder's name may be nobody's business."""
    content = b"".join(all_files(folder).values())
    assert str(recorded_run.parent).encode() not in content
    assert b"workdir" not in content
    assert hub_dataset("mnist") == "mnist"
    assert hub_dataset(str(recorded_run)) is None


def test_scores_are_numbers_alone():
    """A row that was edited by hand has a text or NaN in its place."""
    row = evaluation_row(0, 3.5, features=None)["evaluation"]
    row["scores"] |= {"swd_mean": 1.5, "precision": "0.5", "recall": float("nan"), "kid": True}
    row["floor"] |= {"fid": None}
    found = [(each.kind, each.value, each.floor) for each in metrics_of([row])]
    assert found == [("fid", 3.5, None), ("fid", 7.0, 7.0), ("swd", 1.5, None)]


def test_folder_is_whole_or_not_there(folder, recorded_run, tmp_path, capsys, monkeypatch):
    before = all_files(folder)
    assert run_cli("export", recorded_run, "--format", "hub", "--out", folder) == 2
    assert "already exists: choose another --out" in one_error_line(capsys)
    with pytest.raises(WeightsError, match="already exists"):
        export_hub(folder, narrow_state())
    assert all_files(folder) == before

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "save_png", fail)
    assert run_cli("export", recorded_run, "--format", "hub", "--out", tmp_path / "new") == 2
    assert "No space left on device" in one_error_line(capsys)
    assert not any(tmp_path.iterdir())
    (tmp_path / "new.partial").mkdir()
    assert run_cli("export", recorded_run, "--format", "hub", "--out", tmp_path / "new") == 2
    assert "new.partial exists: another command writes it" in one_error_line(capsys)


def edited(**values):
    def edit(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return edit


def tensors_edited(change):
    def edit(folder):
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path)

    return edit


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:50])


KERNEL = "generator/params/conv_1/kernel"
NETWORK = {"width": 4, "dropout_rate": 0.4, "dtype": "float32"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "cannot read {}/config.json (No such file"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot read {}/model.safetensors (No such file"),
        (cut("config.json"), "cannot read {}/config.json ("),
        (cut("model.safetensors"), "cannot read {}/model.safetensors ("),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "cannot read {}/config.json ("),
        (lambda folder: (folder / "config.json").write_text("[]"), "(it is no JSON object)"),
        (edited(model_type="bert"), "model_type must be 'dcgan-jax', got 'bert'"),
        (edited(format=2), "format must be 1, which this version reads, got '2'"),
        (edited(image_shape=[28, 28]), "image_shape must be three integers"),
        (edited(image_shape=[30, 28, 1]), "config.json describes no network (image height and width must be"),
        (edited(image_shape=[4096, 4096, 3]), "of 28x28x1, and these are for 4096x4096x3"),
        (edited(latent_size=True), "latent_size must be an integer from 1"),
        (edited(latent_size=7), "dense/kernel must have shape (7,"),
        (edited(classes=[]), "classes must be a list of names, or null"),
        (edited(classes=["a", "b"]), "holds other arrays than these networks"),
        (edited(generator={**NETWORK, "width": 10**9}), "generator must be an object of a width up to 1024"),
        (edited(generator={**NETWORK, "dtype": "int8"}), "generator must be an object"),
        (edited(generator={**NETWORK, "width": 8}), "must have shape"),
        (edited(discriminator=None), "holds the generator and discriminator, and config.json says generator"),
        (edited(training={"preset": "own"}), "preset must be one of tutorial"),
        (edited(training={"seed": "x"}), "--seed"),
        (edited(training=None), "training must be an object"),
        (tensors_edited(lambda t: t | {"generator/params/more": np.zeros(1)}), "unknown ['generator/params/more']"),
        (tensors_edited(lambda t: {k: t[k] for k in t if k != KERNEL}), f"missing ['{KERNEL}']"),
        (tensors_edited(lambda t: t | {KERNEL: t[KERNEL][1:]}), "conv_1/kernel must have shape (5, 5, 16, 8)"),
        (tensors_edited(lambda t: t | {KERNEL: t[KERNEL] * np.nan}), "numbers that are NaN or infinite"),
    ],
    ids=str.split(
        "config weights cut-config cut-weights deep list type format shape odd huge bool latent empty classes wide "
        "int8 width alone preset seed training extra missing short nan"
    ),
)
def test_damaged_folders_are_one_line(damage, message, copied, tmp_path, capsys):
    damage(copied)
    assert run_cli("sample", copied, "--out", tmp_path / "a.png") == 2
    assert message.format(copied) in one_error_line(capsys)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["sample", "{}", "--checkpoint", 5], "--checkpoint is for runs: {} is a folder for the Hub"),
        (["sample", "{}", "--recipe", RECIPE], "--recipe is for runs"),
        (["export", "{}", "--format", "hub"], "{} is a folder for the Hub already: copy it"),
        (["export", "{}", "--format", "torch", "--license", "mit"], "--license is for --format hub"),
        (["plot", "{}"], "this is a folder for the Hub, which holds weights and no run"),
    ],
)
def test_folders_are_no_runs(argv, message, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_cli(*(str(each).format(folder) for each in argv)) == 2
    assert message.format(folder) in one_error_line(capsys)
    assert not any(tmp_path.iterdir())


def test_training_starts_from_a_folder(folder, capsys):
    config = TrainConfig(batch_size=2, width=4, latent_size=6, preset="article", init_from=str(folder))
    started = with_weights(create_state(config)[0], config)
    assert_same_bits(weights(started), weights(load_pretrained(folder)))
    assert "were trained by the preset tutorial, and this run trains by article" in capsys.readouterr().out


def test_weights_in_a_run_leave_it_a_run(recorded_run, tmp_path):
    shutil.copytree(recorded_run, tmp_path / "run")
    assert run_cli("export", recorded_run, "--format", "safetensors", "--out", tmp_path / "run/model.safetensors") == 0
    assert run_cli("sample", tmp_path / "run", "--samples", 1, "--out", tmp_path / "one.png") == 0


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_each_class_has_a_name(names, tmp_path):
    """A folder with other names could not be read back."""
    state = init_state(jax.random.key(0), classes=2, generator=Generator(width=2, classes=2))
    with pytest.raises(WeightsError, match=f"class_names must be of the state's 2 classes, got {len(names)}"):
        export_hub(tmp_path / "gan", state, About(class_names=names))
    assert not any(tmp_path.iterdir())


def test_licences_are_named_as_on_the_hub(recorded_run, tmp_path, capsys):
    argv = ["export", recorded_run, "--format", "hub", "--license", "My: licence", "--out", tmp_path / "new"]
    assert run_cli(*argv) == 2
    assert "such as mit or cc-by-4.0, got 'My: licence'" in one_error_line(capsys)
    assert not any(tmp_path.iterdir())


def test_own_networks_go_to_no_folder(small_run, small_state, tmp_path, capsys):
    out = tmp_path / "new"
    assert run_cli("export", small_run, "--recipe", RECIPE, "--format", "hub", "--out", out) == 2
    assert "holds the package's own networks: this generator is a" in one_error_line(capsys)
    with pytest.raises(WeightsError, match="this state has noise of its own"):
        export_hub(out, small_state.replace(noise=lambda key, shape: jax.random.normal(key, shape)))
    assert not any(tmp_path.iterdir())


def test_folder_has_classes_by_name(tmp_path, capsys):
    """Of a library's state too, whose networks differ in width and compute in bfloat16."""
    state = narrow_state(classes=3)
    half = state.generator
    state = state.replace(generator=half.replace(module=half.module.clone(dtype=jax.numpy.bfloat16)))
    out = tmp_path / "classes"
    export_hub(out, state, About({"dataset": None}, ("cat", "dog", "ärger"), license_id="mit"))
    found = load_pretrained(out)
    assert_same_bits(weights(found), weights(state))
    assert found.classes == 3
    assert (found.generator.module.dtype, found.discriminator.module.dtype) == (jax.numpy.dtype("bfloat16"), None)
    flags = ["--classes", "dog,ärger", "--samples", 2, "--out", tmp_path / "a.npy"]
    assert run_cli("sample", out, *flags) == 0
    assert np.load(tmp_path / "a.npy").shape == (4, 28, 28, 1)
    assert "4 images" in capsys.readouterr().out


def test_pretrained_weights_go_to_a_folder(tmp_path, capsys, monkeypatch):
    """Of the generator alone; ./mnist is the folder then."""
    monkeypatch.chdir(tmp_path)
    assert run_cli("export", "mnist", "--format", "hub", "--out", "mnist") == 0
    assert "upload it with: hf upload USER/mnist mnist" in capsys.readouterr().out
    read = front_matter(tmp_path / "mnist")
    assert (read["license"], read["datasets"]) == ("mit", ["ylecun/mnist"])
    card = (tmp_path / "mnist" / "README.md").read_text()
    assert "dcgan-jax sample ./mnist " in card  # not the packaged weights, whose name it has
    assert 'load_pretrained("./mnist")' in card
    for source in ("mnist", "./mnist"):
        assert run_cli("sample", source, "--samples", 2, "--out", f"{len(source)}.npy") == 0
    assert (tmp_path / "5.npy").read_bytes() == (tmp_path / "7.npy").read_bytes()
    assert_same_bits(weights(load_pretrained("./mnist"))[0], weights(load_pretrained("mnist"))[0])
    capsys.readouterr()
    assert run_cli("export", "./mnist", "--format", "onnx", "--network", "discriminator") == 2
    assert "the folder ./mnist has no discriminator" in one_error_line(capsys)
    assert run_cli("export", "./mnist", "--format", "torch") == 0
    assert {name.split(".")[0] for name in load_file("gan_torch.safetensors")} == {"generator"}
    assert "Discriminator" not in (tmp_path / "gan_torch.py").read_text()


@pytest.mark.parametrize(
    ("form", "suffix"),
    [("onnx", ".onnx"), ("keras", ".weights.h5"), ("stablehlo", ".stablehlo"), ("tflite", ".tflite")],
)
def test_discriminator_of_a_folder_is_exported(form, suffix, folder, tmp_path, capsys):
    """Without a flag for its weights, which a folder has no choice of; it has no moving average."""
    out = tmp_path / f"d{suffix}"
    export = ["export", folder, "--network", "discriminator", "--format", form, "--out", out]
    assert run_cli(*export, "--weights", "last") == 2
    assert f"--weights is for runs: {folder} is a folder for the Hub" in one_error_line(capsys)
    assert run_cli(*export) == 0
    assert capsys.readouterr().out == f"discriminator of the weights in {folder}, in {out}\n"
    if form == "onnx":
        about = {each.key: each.value for each in onnx.load(out).metadata_props}
        assert about["weights"] == "last"


def test_own_pictures_are_asked_for(tmp_path, capsys, monkeypatch):
    """A folder does not say where a run's pictures were; their digest tells whether they are the same."""
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    np.save(tmp_path / "mine.npy", images)
    config = TrainConfig(batch_size=2, width=4, dataset=str(tmp_path / "mine.npy"), workdir=str(tmp_path / "run"))
    state, keys = create_state(config, RunRecord((8, 8, 1)))
    create_run(config, moved(state, 1), keys)
    out = tmp_path / "hub"
    assert run_cli("export", tmp_path / "run", "--format", "hub", "--out", out) == 0
    assert "datasets" not in front_matter(out)
    assert b"mine" not in b"".join(all_files(out).values())
    capsys.readouterr()
    unnamed = f"{out} is a folder for the Hub that names no data set"
    assert run_cli("sample", out, "--nearest", "--out", tmp_path / "a.png") == 2
    assert f"{unnamed}: --nearest needs the run that it was exported from" in one_error_line(capsys)
    assert run_cli("evaluate", out) == 2
    assert f"{unnamed}: give --dataset PATH" in one_error_line(capsys)
    assert run_cli("sample", out, "--out", tmp_path / "a.png") == 0
    monkeypatch.setattr("dcgan_jax.report.weights._SAMPLES", 2)
    assert run_cli("report", out, "--explore", "--out", tmp_path / "a.html") == 0
    data = json.loads(re.search(r'id="data">(.*?)</script>', (tmp_path / "a.html").read_text())[1])
    assert ["Data", "own pictures, 8x8 grey"] in data["facts"]
