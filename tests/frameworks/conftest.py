"""Each framework in its own environment: skipped where it is missing, failed where it is meant to be there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache

import pytest

from backends.interface.framework import Framework
from backends.registry import BUILT_IN, Backend

BY_ENVIRONMENT = {backend.environment: backend for backend in BUILT_IN}
THIS_ENVIRONMENT = os.environ.get("TOX_ENV_NAME", "")


def concerned() -> list[Backend]:
    """The backend that this tox environment is named for; outside such an environment, all of them."""
    own = BY_ENVIRONMENT.get(THIS_ENVIRONMENT)
    return [own] if own else list(BUILT_IN)


@cache
def loaded(backend: Backend) -> Framework | str:
    """The framework, or why it cannot be imported."""
    try:
        return backend.load_framework()
    except ImportError as error:
        return str(error)


def only_with(environment: str) -> Framework:
    """The framework that a whole file of tests is about: the file is skipped in other environments and where the
    framework is missing, and fails in the environment that is meant to have it.
    """
    backend = BY_ENVIRONMENT[environment]
    framework = loaded(backend) if backend in concerned() else "this environment is another framework's"
    if isinstance(framework, str):
        if environment == THIS_ENVIRONMENT:
            pytest.fail(framework)
        pytest.skip(framework, allow_module_level=True)
    return framework


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``framework`` runs once a framework; ``implementation`` and ``probe`` once for each that it has."""
    for argument, named in (("implementation", _implementations), ("probe", _probes)):
        if argument in metafunc.fixturenames:
            pairs = [(backend, name) for backend in concerned() for name in _names(backend, named)]
            ids = [f"{backend.name}-{name}" for backend, name in pairs]
            metafunc.parametrize(("framework", argument), pairs, indirect=["framework"], ids=ids)
            return
    if "framework" in metafunc.fixturenames:
        metafunc.parametrize("framework", concerned(), indirect=True, ids=[backend.name for backend in concerned()])


def _implementations(framework: Framework) -> Iterable[str]:
    return framework.implementations


def _probes(framework: Framework) -> Iterable[str]:
    return framework.probes()


def _names(backend: Backend, named: Callable[[Framework], Iterable[str]]) -> Iterable[str]:
    framework = loaded(backend)
    return ["missing"] if isinstance(framework, str) else named(framework)


@pytest.fixture
def framework(request: pytest.FixtureRequest) -> Framework:
    """A framework that can be imported here."""
    backend: Backend = request.param
    own = loaded(backend)
    if isinstance(own, str):
        stop = pytest.fail if backend.environment == THIS_ENVIRONMENT else pytest.skip
        stop(f"{backend.name} cannot be imported: {own}")
    return own
