"""Check constructor arguments against their annotations while a config is instantiated."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from hydra_zen.third_party.pydantic import pydantic_parser


def checked(target: Callable) -> Callable:
    """Wrap a constructor so that pydantic checks its arguments, `Literal`s included, and turns lists into the tuples it asks for.

    Pydantic alone reads all of a function's annotations in its own module. Here an inherited field is read in the module that declares
    it, and what is returned is not read at all, so that a constructor may name a type that it imports late.
    """

    def build(*arguments: Any, **named: Any) -> Any:
        return target(*arguments, **named)

    signature = inspect.signature(target)
    build.__annotations__ = _argument_types(target)
    parameters = [parameter.replace(annotation=build.__annotations__[name]) for name, parameter in signature.parameters.items()]
    build.__signature__ = signature.replace(parameters=parameters, return_annotation=Any)  # type: ignore[attr-defined]
    return pydantic_parser(build)


def _argument_types(target: Callable) -> dict[str, Any]:
    if inspect.isclass(target) and is_dataclass(target):
        return get_type_hints(target)
    function = inspect.unwrap(target.__init__ if inspect.isclass(target) else target)

    def arguments() -> None: ...

    arguments.__annotations__ = {name: kind for name, kind in function.__annotations__.items() if name != "return"}
    return get_type_hints(arguments, globalns=function.__globals__)
