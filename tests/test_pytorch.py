"""The networks as modules of PyTorch: the same numbers as JAX, and weights there and back.

PyTorch is not needed by what is tested; where it is the oracle, tests skip without it.
"""

import importlib.util
import json
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RECIPE, all_files, assert_same_bits, one_error_line, quick_jit, run_cli
from programs.small_recipe import init
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from test_interop import moved
from test_onnx import channels_first, network_inputs

from dcgan_jax import Discriminator, Generator, TrainConfig, averaged, init_state, load_run
from dcgan_jax.interop import NETWORKS, WeightsError, export_torch, import_weights, read_weights
from dcgan_jax.interop.pytorch_modules import module_file
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.run import create_run

TOLERANCE = 1e-5  # sums in another order; of logits times the largest


def narrow_state(shape=(28, 28, 1), classes=None, seed=3, rate=0.4):
    """Networks of a sixteenth of the tutorial's widths, moved: the vectors of classes are not 0 either."""
    options = {"width": 4, "classes": classes, "dropout_rate": rate}
    generator, discriminator = Generator(shape, **options), Discriminator(**options)
    state = init_state(jax.random.key(seed), generator=generator, discriminator=discriminator, classes=classes)
    half = state.discriminator
    if classes is not None:
        half.params["class_vectors"]["embedding"] += 1
    return moved(state, seed)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("my-gan.safetensors", "my_gan.py"),
        ("3d.safetensors", "_3d.py"),
        ("torch.safetensors", "torch_networks.py"),
        ("random.safetensors", "random_networks.py"),
        ("class.safetensors", "class_networks.py"),
    ],
)
def test_modules_are_importable_and_hide_none(weights, expected):
    assert module_file(weights) == expected


@pytest.fixture(
    scope="module",
    params=[((28, 28, 1), None), ((28, 28, 1), 3), ((64, 64, 3), 2), ((36, 44, 3), None), ((4, 12, 2), None)],
    ids=lambda case: "x".join(map(str, case[0])) + ("" if case[1] is None else f" of {case[1]} classes"),
)
def state(request):
    """Grey and in colours, with classes, and of sizes in which maps are cut: 44 pixels are 6, 11, 22 and 44."""
    return narrow_state(*request.param)


@pytest.fixture(scope="module")
def narrow():
    return narrow_state()


@pytest.fixture(scope="module")
def tensors(narrow, tmp_path_factory):
    """The arrays of `narrow` as a state dict."""
    path = tmp_path_factory.mktemp("torch") / "gan.safetensors"
    export_torch(path, narrow)
    return load_file(path)


@pytest.fixture(scope="module")
def small_averaged_run(tmp_path_factory):
    """The directory of a run with a moving average, of narrow networks and little noise, without a step."""
    run_dir = tmp_path_factory.mktemp("averaged") / "run"
    config = TrainConfig(batch_size=2, width=4, latent_size=6, ema=0.9, workdir=str(run_dir))
    state, keys = create_state(config)
    last, before = moved(state, 1), moved(state, 2).generator
    create_run(config, last.replace(ema=last.ema.update(before.params, before.batch_stats)), keys)
    return run_dir


def weights(state):
    return tuple((half.params, half.batch_stats) for half in (state.generator, state.discriminator))


def load_modules(path):
    """What `load` of a file of modules returns."""
    spec = importlib.util.spec_from_file_location("gan_modules", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


def in_torch(torch, network, inputs):
    given = [torch.from_numpy(np.ascontiguousarray(channels_first(x))) for x in inputs]
    with torch.no_grad():
        found = network(*given).numpy()
    return found.transpose(0, 2, 3, 1) if found.ndim == 4 else found


def test_torch_computes_what_jax_does(state, tmp_path):
    torch = pytest.importorskip("torch")
    gan = load_modules(export_torch(tmp_path / "my gan-2.safetensors", state))
    for network in NETWORKS:
        inputs = list(network_inputs(state, network).values())
        expected = np.asarray(quick_jit(getattr(state, network).infer)(*inputs))
        assert expected.std() > 100 * TOLERANCE
        found = in_torch(torch, gan[network], inputs)
        assert np.abs(found - expected).max() <= TOLERANCE * max(1, np.abs(expected).max())


def test_modules_are_short_and_run_nothing(state, tmp_path):
    path = export_torch(tmp_path / '2nd """ gan.x\'.safetensors', state)
    assert path.name == "_2nd_____gan_x_.py"
    lines = path.read_text().splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120
    compile(path.read_text(), path, "exec")


def test_weights_of_torch_come_back(state, tmp_path):
    """What PyTorch writes itself, of both networks and of one, without the network's name."""
    pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    gan = load_modules(export_torch(tmp_path / "gan.safetensors", state))
    save_torch(gan.state_dict(), tmp_path / "both.safetensors")
    save_torch(gan["generator"].state_dict(), tmp_path / "g.safetensors")
    save_torch(gan["discriminator"].state_dict(), tmp_path / "d.safetensors")
    other = jax.tree.map(jnp.zeros_like, state)
    assert_same_bits(weights(import_weights(tmp_path / "both.safetensors", other)), weights(state))
    singly = import_weights(tmp_path / "d.safetensors", import_weights(tmp_path / "g.safetensors", other))
    assert_same_bits(weights(singly), weights(state))


def test_torch_trains_as_jax_does(tmp_path):
    """In training mode without dropout: the batch's statistics, and a tenth of them in the moving ones.

    PyTorch's variance of the latter is that of a sample, n / (n - 1) times Flax's.
    """
    torch = pytest.importorskip("torch")
    state = narrow_state(rate=0.0)
    gan = load_modules(export_torch(tmp_path / "gan.safetensors", state)).train()
    (z,) = network_inputs(state, "generator", n=8).values()
    half = state.generator
    expected, stats = quick_jit(half.train)(half.params, z, jax.random.key(0))
    assert np.abs(in_torch(torch, gan["generator"], [z]) - expected).max() <= TOLERANCE
    norm, n = gan["generator"].norms[1], 8 * 14 * 14
    mean, var = (np.asarray(stats["norm_1"][name]) for name in ("mean", "var"))
    before = np.asarray(half.batch_stats["norm_1"]["var"])
    assert np.allclose(norm.running_mean.numpy(), mean, atol=TOLERANCE)
    assert np.allclose(norm.running_var.numpy(), before * 0.9 + (var - before * 0.9) * n / (n - 1), atol=TOLERANCE)
    assert int(norm.num_batches_tracked) == int(state.step) + 1


def test_dropout_is_written_in(narrow, tmp_path):
    pytest.importorskip("torch")
    gan = load_modules(export_torch(tmp_path / "gan.safetensors", narrow))
    assert (gan.generator.dropout.p, gan.discriminator.dropout.p) == (0.4, 0.4)
    assert not gan.training


def test_layouts_are_those_of_torch(narrow, tensors, tmp_path):
    """Kernels OIHW, dense ones [out, in], with maps flattened by channel; and back, without PyTorch."""
    g = narrow.generator.params
    assert_same_bits(tensors["generator.convs.0.weight"], np.asarray(g["conv_1"]["kernel"]).transpose(3, 2, 0, 1))
    by_pixel = np.asarray(g["dense"]["kernel"]).T.reshape(7, 7, 16, 100)
    assert_same_bits(tensors["generator.dense.weight"].reshape(16, 7, 7, 100), by_pixel.transpose(2, 0, 1, 3))
    kernel = np.asarray(narrow.discriminator.params["dense"]["kernel"]).reshape(4, 4, 32)
    assert_same_bits(tensors["discriminator.dense.weight"].reshape(32, 4, 4), kernel.transpose(2, 0, 1))
    assert tensors["generator.norms.0.num_batches_tracked"].dtype == np.int64
    save_file(tensors, tmp_path / "a.safetensors")
    assert_same_bits(weights(import_weights(tmp_path / "a.safetensors", narrow_state(seed=4))), weights(narrow))


def without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def changed(name, change):
    return lambda tensors: {**tensors, name: change(tensors.get(name))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("generator.convs.0.bias"), r"missing \['generator.convs.0.bias'\], unknown \[\]"),
        (without("generator.dense.weight"), r"missing \['generator.dense.weight'\]"),
        (changed("generator.extra", lambda _: np.zeros(1)), r"missing \[\], unknown \['generator.extra'\]"),
        (changed("generator.dense.bias", lambda x: x[:-1]), r"dense.bias must have shape \(784,\), got \(783,\)"),
        (changed("discriminator.convs.1.weight", lambda x: x.T), r"must have shape \(8, 4, 5, 5\), got \(5, 5, 4, 8\)"),
        (changed("generator.dense.bias", lambda x: x.astype(np.int32)), "must be floating point, got int32"),
        (changed("generator.dense.bias", lambda x: x * np.nan), "has numbers that are NaN or infinite"),
        (changed("generator.norms.1.running_var", lambda x: -1 - x), "has variances below 0"),
        (lambda _: {"weight": np.zeros(3)}, r"holds other arrays .* unknown \['weight'\]"),
    ],
    ids=["missing", "missing kernel", "extra", "short", "order", "integers", "nan", "variance", "other"],
)
def test_other_state_dicts_are_refused(change, message, narrow, tensors, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in change(tensors).items()}, path)
    with pytest.raises(WeightsError, match=message):
        read_weights(path, narrow)


@pytest.mark.parametrize("start", ["main.", "module.main."])
@pytest.mark.parametrize("network", NETWORKS)
def test_dcgan_of_examples_is_named(network, start, narrow, tmp_path):
    """As `dcgan/main.py` of pytorch/examples names them."""
    shapes = {"0.weight": (100, 512, 4, 4), "1.weight": (512,), "1.bias": (512,)}
    if network == "discriminator":
        shapes = {"0.weight": (64, 3, 4, 4), "2.weight": (128, 64, 4, 4), "3.weight": (128,)}
    path = tmp_path / "a.safetensors"
    save_file({start + name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, path)
    with pytest.raises(
        WeightsError, match=rf"the {network} of the DCGAN of pytorch/examples \(main.0.weight \["
    ) as error:
        read_weights(path, narrow)
    assert f"(main.0.weight {list(shapes['0.weight'])})" in str(error.value)
    assert "\n" not in str(error.value)


class Evil:
    def __reduce__(self):
        return open, ("ran", "w")


@pytest.mark.parametrize("name", ["g.pth", "g.PT", "weights", "damaged.pth"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "plain"])
def test_pickles_are_never_read(name, zipped, narrow, tmp_path, monkeypatch):
    """Those of torch.save, which are zip archives, and those of its earlier versions; by content and by name."""
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Evil(), 2)
    path = tmp_path / name
    path.write_bytes(content)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    if name.startswith("damaged"):
        path.write_bytes(path.read_bytes()[:7])
    with pytest.raises(WeightsError, match=rf"{name} is a pickle.*safetensors.torch.save_file\(state_dict,"):
        read_weights(path, narrow)
    assert not (tmp_path / "ran").exists()


def test_files_of_torch_save_are_refused(narrow, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    for name, new in (("a", True), ("b.pth", True), ("c", False)):
        torch.save({"main.0.weight": torch.zeros(3)}, tmp_path / name, _use_new_zipfile_serialization=new)
        with pytest.raises(WeightsError, match="is a pickle"):
            read_weights(tmp_path / name, narrow)
    assert run_cli("import", tmp_path / "b.pth", "--workdir", tmp_path / "run", "--width", 4) == 2
    assert "b.pth is a pickle, as torch.save writes" in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_command_exports_and_imports(small_averaged_run, tmp_path, capsys, monkeypatch):
    """The average or the last weights, and a run that starts from the file; nothing is overwritten."""
    monkeypatch.chdir(tmp_path)
    assert run_cli("export", small_averaged_run, "--format", "torch") == 0
    assert "in gan_torch.safetensors, and their modules in gan_torch.py" in capsys.readouterr().out
    export = ["export", small_averaged_run, "--format", "torch", "--weights", "last"]
    assert run_cli(*export) == 0
    assert sorted(all_files(tmp_path)) == [
        f"gan_torch{number}{suffix}"
        for number, suffix in (("-2", ".safetensors"), ("", ".py"), ("", ".safetensors"), ("_2", ".py"))
    ]
    state = load_run(small_averaged_run).state
    for name, expected in (("gan_torch", averaged(state)), ("gan_torch-2", state)):
        assert_same_bits(weights(import_weights(tmp_path / f"{name}.safetensors", state)), weights(expected))
    with safe_open("gan_torch.safetensors", "numpy") as file:
        assert file.metadata()["format"] == "pt"
        assert json.loads(file.metadata()["dcgan-jax"])["weights"] == "average 0.9"
    (tmp_path / "gan_torch_3.py").write_text("mine")
    assert run_cli(*export) == 0  # its next name is that of no file
    assert (tmp_path / "gan_torch-4.safetensors").exists()
    capsys.readouterr()
    (tmp_path / "a.py").write_text("mine")
    assert run_cli(*export, "--out", "a.safetensors") == 2
    assert "a.py already exists" in one_error_line(capsys)
    assert not (tmp_path / "a.safetensors").exists()
    flags = ["--width", 4, "--latent-size", 6, "--workdir", "run"]
    assert run_cli("import", "gan_torch-2.safetensors", *flags) == 0
    assert_same_bits(weights(load_run("run").state), weights(state))


def test_own_networks_have_no_modules(small_run, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    assert run_cli("export", small_run, "--recipe", RECIPE, "--format", "torch", "--out", out) == 2
    assert "only the package's own networks have modules in PyTorch: this generator" in one_error_line(capsys)
    assert not any(tmp_path.iterdir())
    save_file({"generator.dense.weight": np.zeros(3)}, out)
    with pytest.raises(WeightsError, match="this generator is a SmallGenerator"):
        read_weights(out, init(jax.random.key(0), (8, 8, 1), None))


def test_modules_do_not_outlive_a_full_disk(narrow, tmp_path, monkeypatch):
    """Of two files there are both or none."""

    def fail(path, write):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dcgan_jax.interop.pytorch.replace_file", fail)
    with pytest.raises(OSError, match="No space"):
        export_torch(tmp_path / "gan.safetensors", narrow)
    assert not any(tmp_path.iterdir())
