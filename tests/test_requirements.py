"""The lowest versions that the project says it works with are those that can be tried together: `tests/lowest.txt`."""

import tomllib

from helpers import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def test_each_lower_bound_is_one_that_was_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = (
        "export",
        "onnxruntime",
        "perceptual",
        "plot",
        "tensorboard",
        "tflite",
        "parquet",
        "hdf5",
        "matlab",
        "lmdb",
    )
    required = [*project["dependencies"], *(each for name in names for each in extras[name])]
    bounds = {}
    for each in map(Requirement, required):
        if each.name == project["name"]:  # another extra
            continue
        (bound,) = each.specifier
        assert bound.operator == ">="
        bounds[canonicalize_name(each.name)] = Version(bound.version)
    lines = [line for line in (ROOT / "tests" / "lowest.txt").read_text().splitlines() if not line.startswith("#")]
    tried = {canonicalize_name(name): Version(version) for name, _, version in (line.partition("==") for line in lines)}
    assert tried.pop("jaxlib") == tried["jax"]  # or pip would take the newest one
    assert tried == bounds
