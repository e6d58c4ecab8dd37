"""What is built of the project for others to install."""

import importlib.metadata

from dcgan_jax import __all__ as public


def test_wheel_tells_checkers_that_it_has_types(wheel):
    """Without the marker they take every name of an installed package for `Any` (PEP 561)."""
    package = wheel / "dcgan_jax"
    assert (package / "py.typed").read_bytes() == b""
    stub = (package / "__init__.pyi").read_text()
    assert all(name in stub for name in public)


def test_wheel_says_what_it_is(wheel):
    (installed,) = importlib.metadata.distributions(name="dcgan-jax", path=[str(wheel)])
    about = installed.metadata
    assert about["Description-Content-Type"] == "text/markdown"
    assert about["License-Expression"] == "MIT"
    assert "Typing :: Typed" in about.get_all("Classifier")
    assert not [line for line in about.get_all("Classifier") if line.startswith("License")]  # beside SPDX, refused
    assert about.get_payload().startswith("# dcgan-jax\n")
    for name in about.get_all("License-File"):
        assert installed.locate_file(f"dcgan_jax-{installed.version}.dist-info/licenses/{name}").exists()
