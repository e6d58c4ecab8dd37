"""What the command line prints names flags, and what the library raises names fields."""

import ast
import json
import math
import re
import sys

import numpy as np
import pytest
from helpers import ROOT

from dcgan_jax.cli.errors import as_flags, run_command
from dcgan_jax.console import print_line, print_result
from dcgan_jax.training.collapse import CollapseDetector
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.finite import NotFiniteError, check_finite_metrics

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+(?![\w])")
# These hold command lines: the command that repeats a run, XLA's options, other programs' commands, a parser, a
# model card.
COMMAND_LINES = (
    *("report/tables.py", "training/environment.py"),
    *("evaluation/train_classifier.py", "evaluation/image_scorer.py", "pretrained/model_card.py"),
)
OTHER_PROGRAMS = {"--logdir", "--project"}  # of TensorBoard and xprof, and of Trackio


@pytest.mark.parametrize(
    ("message", "printed"),
    [
        ("`batch_size` must be at most 60000, got 70000", "--batch-size must be at most 60000, got 70000"),
        ("evaluations are needed: add `eval_every=N`", "evaluations are needed: add --eval-every N"),
        ("add `resume=True` to resume it", "add --resume to resume it"),
        ("leave out `mirror=True`, or `mirror=False`", "leave out --mirror, or --no-mirror"),
        ("reached `stop_at_fid=10` with FID 9.5", "reached --stop-at-fid 10 with FID 9.5"),
        ("or `log='none'`", "or --log none"),
        ("fakes in training mode (`fakes='training'`), or", "fakes in training mode (--fakes training), or"),
        ("with `workdir=/a b/run` `resume=True`", "with --workdir /a b/run --resume"),
        ("add `init`, the function", "add --recipe, the function"),
        ("choose another `out`", "choose another --out"),
    ],
)
def test_fields_become_flags(message, printed):
    assert as_flags(message) == printed


@pytest.mark.parametrize(
    ("message", "printed"),
    [
        ("`latent` must be a number", "latent must be a number"),
        ("`init(key, shape, classes)` returns a GANState", "`init(key, shape, classes)` returns a GANState"),
        ("`latent=3` is code", "`latent=3` is code"),
        ("cannot read /tmp/`seed`/x and a`seed`b", "cannot read /tmp/`seed`/x and a`seed`b"),
        ("--seed is a flag, and a ` alone is none", "--seed is a flag, and a ` alone is none"),
    ],
)
def test_other_words_are_no_flags(message, printed):
    assert as_flags(message) == printed


def test_errors_of_a_command_name_flags(capsys):
    def work():
        raise ConfigError("`batch_size` must be at least 1, got 0")

    assert run_command(work, cache=False) == 2
    assert capsys.readouterr().err == "error: --batch-size must be at least 1, got 0\n"


def test_loss_that_is_not_finite_names_flags(capsys):
    assert run_command(lambda: check_finite_metrics(3, {"d_loss": float("nan")}), cache=False) == 3
    assert capsys.readouterr().err == (
        "error: d_loss is nan at step 3: stopped; the checkpoints are from before it, and --resume would repeat the "
        "same steps, so try lower learning rates or another --seed\n"
    )
    with pytest.raises(NotFiniteError, match="and `resume=True` would repeat the same steps"):
        check_finite_metrics(3, {"d_loss": float("nan")})
    check_finite_metrics(3, {"d_norm": math.inf, "g_ratio": math.nan})  # own metrics


def test_notes_of_a_command_name_flags(capsys):
    """On both streams, which are afterwards what they were."""
    before = sys.stdout, sys.stderr

    def work():
        print_line("for first samples: `batch_size=64` `steps=700`")
        print_line("warning: another `preset`", error=True)
        print_result(json.dumps({"run": "/runs/`seed`"}))

    assert run_command(work, cache=False) == 0
    assert capsys.readouterr() == (
        'for first samples: --batch-size 64 --steps 700\n{"run": "/runs/`seed`"}\n',
        "warning: another --preset\n",
    )
    assert (sys.stdout, sys.stderr) == before


def test_warning_of_a_collapse_names_flags():
    reals = np.random.default_rng(0).random((4, 8, 8, 1))
    metrics = {"d_loss": 0.0, "d_accuracy": 1.0, "g_loss": 9.0, "g_accuracy": 0.0}
    for fakes, also in (("inference", "fakes in training mode (--fakes training), "), ("training", "")):
        detector = CollapseDetector(0, reals, digits=False, fakes=fakes)
        lines = [line for step in range(1, 301) if (line := detector.observe_losses(step, metrics))]
        remedies = [as_flags(line).partition("Remedies: ")[2] for line in lines]
        assert remedies == [f"lower learning rates, {also}or another --seed"]


def test_library_names_no_flags():
    """In no string but docstrings, as far as it is no command line."""
    library = sorted((ROOT / "dcgan_jax").rglob("*.py"))
    named = {}
    for path in library:
        name = path.relative_to(ROOT / "dcgan_jax").as_posix()
        if not name.startswith("cli/") and name not in COMMAND_LINES:
            flags = {flag for text in strings(path.read_text(encoding="utf-8")) for flag in FLAG.findall(text)}
            named[name] = sorted(flags - OTHER_PROGRAMS)
    assert len(named) > 60
    assert {name: flags for name, flags in named.items() if flags} == {}


def strings(source):
    """The string literals of a module that are no docstrings, with the parts of those that are formatted."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and is_text(node)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings)
    return [node.value for node in constants if isinstance(node.value, str)]


def is_text(node):
    return bool(node.body) and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
