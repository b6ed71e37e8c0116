"""Component: a network whose folder says how to build it again: config.json and safetensors, diffusers' layout."""

from __future__ import annotations

import functools
import inspect
import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gen.artefact import ArtefactError

Part = TypeVar("Part", bound=nn.Module)  # not Self, which beartype refuses on a method

WEIGHTS = "diffusion_pytorch_model.safetensors"


class Component(nn.Module):
    """Base of every part that a pipeline folder holds.

    A subclass takes JSON values and other components as constructor arguments; they are recorded, so that `architecture()` can build the
    same network again without its weights. The class names that may be built are those of the subclasses that are imported: nothing is
    looked up by a path that a file names.

    Attributes:
        config: the constructor's arguments; a component among them is its own `architecture()`.
    """

    config: dict[str, Any]
    _classes: ClassVar[dict[str, type[Component]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Component._classes[cls.__name__] = cls
        if "__init__" in cls.__dict__:
            cls.__init__ = _recorded(cls.__init__)  # type: ignore[method-assign]

    def architecture(self) -> dict[str, Any]:
        """Return the class's name and its constructor's arguments as JSON values."""
        return {"_class_name": type(self).__name__, **self.config}

    @staticmethod
    def from_architecture(architecture: dict[str, Any]) -> Component:
        """Build the network that `architecture()` described, with random weights.

        Raises:
            ArtefactError: if it names no component, arguments that the component does not take, or weights to be fetched from elsewhere.
        """
        name = architecture.get("_class_name")
        if name not in Component._classes:
            raise ArtefactError(f"{name!r} is no component; there are {', '.join(sorted(Component._classes))}")
        if architecture.get("weights") not in (None, "random"):  # nothing is read or downloaded because a file says so
            raise ArtefactError(f"a {name} with weights={architecture['weights']!r}: a folder holds its own weights, this must be null")
        arguments = {key: _built(value) for key, value in architecture.items() if not key.startswith("_")}
        try:
            inspect.signature(Component._classes[name].__init__).bind(None, **arguments)
            return Component._classes[name](**arguments)
        except (TypeError, ValueError, RuntimeError) as error:  # torch refuses sizes with the last
            raise ArtefactError(f"a {name} cannot be built from {sorted(arguments)}: {error}") from error

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and the weights into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.architecture(), indent=2, sort_keys=True) + "\n")
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS, {"format": "pt"})
        for place, part in self._parts(folder):
            part.save_files(place)

    def save_files(self, folder: Path) -> None:
        """Write what is neither weights nor architecture, such as a tokenizer, into `folder`, which need not exist yet."""

    def load_files(self, folder: Path) -> None:
        """Read what `save_files` wrote."""

    def _parts(self, folder: Path) -> list[tuple[Path, Component]]:
        """Return this component and those inside it, each with the folder of its files."""
        return [(folder.joinpath(*name.split(".")), part) for name, part in self.named_modules() if isinstance(part, Component)]

    @classmethod
    def from_pretrained(cls: type[Part], folder: str | Path) -> Part:
        """Build what `save_pretrained` wrote, in fp32, in evaluation mode.

        Raises:
            ArtefactError: if a file is missing, another kind of component lies there, or a weight is missing or of another shape.
        """
        folder = Path(folder)
        try:
            architecture = json.loads((folder / "config.json").read_text())
            state = load_file(folder / WEIGHTS)
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{folder}: holds no component that can be read ({error})") from error
        try:
            component = Component.from_architecture(architecture)
        except ArtefactError as error:
            raise ArtefactError(f"{folder / 'config.json'}: {error}") from error
        if not isinstance(component, cls):
            raise ArtefactError(f"{folder / 'config.json'}: is a {type(component).__name__}, not a {cls.__name__}")
        load_weights(component, state, folder / WEIGHTS)
        for place, part in component._parts(folder):
            part.load_files(place)
        return component.eval()


def load_weights(module: nn.Module, state: dict[str, torch.Tensor], source: str | Path) -> None:
    """Load weights that must fit exactly.

    Args:
        module: gets them, in its own dtype.
        state: by name.
        source: where they come from, for the message.

    Raises:
        ArtefactError: naming the first missing, superfluous and mismatched weights, with shapes.
    """
    own = module.state_dict()
    faults = [f"missing {name} {list(own[name].shape)}" for name in own.keys() - state.keys()]
    faults += [f"superfluous {name} {list(state[name].shape)}" for name in state.keys() - own.keys()]
    faults += [
        f"{name} is {list(state[name].shape)} where the architecture has {list(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if faults:
        more = f", and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ArtefactError(f"{source}: does not fit {type(module).__name__}: {'; '.join(sorted(faults)[:5])}{more}")
    module.load_state_dict(state)


def _recorded(init: Any) -> Any:
    """Wrap a constructor so that it records its arguments; of a chain of constructors the outermost counts."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def record(self: Component, *arguments: Any, **named: Any) -> None:
        if "config" not in self.__dict__:
            bound = signature.bind(self, *arguments, **named)
            bound.apply_defaults()
            self.__dict__["config"] = {name: _plain(value) for name, value in list(bound.arguments.items())[1:]}
        init(self, *arguments, **named)

    return record


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Component):
        return value.architecture()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _built(value: Any) -> Any:
    """Build the components in a JSON value."""
    if isinstance(value, dict):
        inner = {key: _built(item) for key, item in value.items()}
        return Component.from_architecture(value) if "_class_name" in value else inner
    return [_built(item) for item in value] if isinstance(value, list) else value
