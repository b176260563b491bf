"""Which callables a list of factories allows, with a module that has names of every kind."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from models_registry.base_models.factories import find_factory
from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.errors import Invalid
from models_registry.records import PythonSource

MODULE = """
import functools
import subprocess
from os import system
from subprocess import Popen, run
from torch import nn
from torch.nn import Conv1d, Linear

__all__ = ["Linear", "halved", "_hidden"]


class Net(nn.Linear):
    @classmethod
    def small(cls):
        return cls(2, 2)


def net(width=2):
    return Net(width, width)


@functools.cache
def cached():
    return net()


def _hidden():
    return net()


def _private():
    return net()


lambdas = lambda: net()
halved = functools.partial(net, width=1)
doubled = functools.partial(net, width=4)
shell = run
size = 3
"""


@pytest.fixture
def mymodels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the operator's own, of which nothing is left when the test ends."""
    (tmp_path / "mymodels.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mymodels", raising=False)
    monkeypatch.setitem(sys.modules, "mymodels", __import__("mymodels"))
    return "mymodels"


def refusal(name: str, *allowed: str) -> str:
    with pytest.raises(Invalid) as caught:
        find_factory(name, allowed)
    (fault,) = caught.value.faults
    assert fault.loc == ("source", "factory")
    return fault.message


@pytest.mark.parametrize("name", ["net", "Net", "cached", "lambdas"])
def test_a_star_allows_what_the_module_defines(mymodels: str, name: str) -> None:
    assert callable(find_factory(f"{mymodels}:{name}", [f"{mymodels}:*"]))


@pytest.mark.parametrize("name", ["Linear", "halved", "_hidden"])
def test_a_star_allows_what_the_module_lists_in_all(mymodels: str, name: str) -> None:
    assert callable(find_factory(f"{mymodels}:{name}", [f"{mymodels}:*"]))


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("run", "subprocess"),
        ("Popen", "subprocess"),
        ("shell", "subprocess"),
        ("system", "posix"),
        ("Conv1d", "torch.nn"),
        ("doubled", "functools"),
    ],
)
def test_a_star_allows_nothing_that_the_module_imported(mymodels: str, name: str, home: str) -> None:
    message = refusal(f"{mymodels}:{name}", f"{mymodels}:*")
    assert f"'{name}' from {home}" in message
    assert "__all__" in message


@pytest.mark.parametrize("name", ["subprocess.run", "Net.small", "Net.__init__.__globals__.get"])
def test_a_star_allows_no_path_with_dots(mymodels: str, name: str) -> None:
    assert f"list '{mymodels}:{name}' itself" in refusal(f"{mymodels}:{name}", f"{mymodels}:*")


@pytest.mark.parametrize("name", ["_private", "__loader__", "__class__", "__getattribute__"])
def test_a_star_allows_nothing_private(mymodels: str, name: str) -> None:
    assert "private" in refusal(f"{mymodels}:{name}", f"{mymodels}:*")


def test_a_callable_that_is_listed_by_name_is_one_wherever_it_is_from(mymodels: str) -> None:
    assert find_factory(f"{mymodels}:run", [f"{mymodels}:run"]) is subprocess.run
    assert find_factory("torch.nn:Linear", ["torch.nn:Linear"]) is nn.Linear


def test_a_name_may_have_dots_where_it_is_listed_itself(mymodels: str) -> None:
    name = f"{mymodels}:Net.small"
    source = PythonSource(name)
    assert open_spec(source, None, SourcePolicy((), (name,)))
    assert "not on the list" in refusal(f"{mymodels}:Net.large", name)


def test_what_neither_is_listed_nor_of_a_listed_module_is_refused() -> None:
    assert "not on the list" in refusal("torch.nn:Linear")
    assert "not on the list" in refusal("torch.nn:Linear", "torch:*", "torch.nn:Conv1d", "torch.nn.modules.linear:*")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "no attribute 'nothing'"),
        ("size", "from elsewhere"),
        ("*", "package.module:callable"),
        ("", "package.module:callable"),
        ("net()", "package.module:callable"),
        ("net.", "package.module:callable"),
    ],
)
def test_a_name_that_is_no_callable_is_refused_with_the_reason(mymodels: str, name: str, words: str) -> None:
    assert words in refusal(f"{mymodels}:{name}", f"{mymodels}:*")


def test_a_listed_name_that_can_not_be_called_is_refused(mymodels: str) -> None:
    assert "is of the type int, which can't be called" in refusal(f"{mymodels}:size", f"{mymodels}:size")


def test_a_module_that_can_not_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfmodels.py").write_text("import nowhere_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    assert "No module named 'nowhere_at_all'" in refusal("halfmodels:net", "halfmodels:*")


def test_a_module_off_the_list_is_not_even_imported() -> None:
    sys.modules.pop("this", None)
    refusal("this:s", "torch.nn:*")
    assert "this" not in sys.modules
