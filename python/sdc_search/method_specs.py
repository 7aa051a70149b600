"""A hash function with its parameters, written as one word of a command line."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdc_search import hashers
from sdc_search.hashers import Hasher

# Of the table in Ng et al., BMVC 2023; methods that it lacks come after.
_ORDER = (
    *("LSH", "SpectralHashing", "ITQ", "SSDH", "GreedyHash", "TBH"),
    *("CIBHash", "BiHalf", "NSH", "WCH", "SDC", "GraphSDC"),
)
_GIVEN_ELSEWHERE = ("n_bits", "random_state", "verbose")


@dataclass(frozen=True, eq=False)
class Method:
    """A row of a table: a class of `sdc_search.hashers` and those parameters that are no defaults."""

    label: str
    hasher_class: type[Hasher]
    params: Mapping[str, Any]

    def build(self, n_bits: int, seed: int) -> Hasher:
        """Return an unfitted hasher."""
        given = {**self.params, "n_bits": n_bits, "random_state": seed, "verbose": False}
        return self.hasher_class(**given)


def known_methods() -> dict[str, type[Hasher]]:
    """Return the hash functions that `sdc_search.hashers` lists, in the order of the paper's table."""
    classes = {name: getattr(hashers, name) for name in hashers.__all__}
    methods = {
        name: value
        for name, value in classes.items()
        if isinstance(value, type) and issubclass(value, Hasher) and not inspect.isabstract(value)
    }
    rank = {name: place for place, name in enumerate(_ORDER)}
    return {name: methods[name] for name in sorted(methods, key=lambda name: rank.get(name, len(rank)))}


def parse_methods(texts: Sequence[str], preset: str | None = None) -> list[Method]:
    """Read what ``--methods`` is given: ``Class``, ``Class:preset`` or ``Class:name=value,name=value``.

    Parameters
    ----------
    texts
        None at all: every known method.
    preset
        For those that have presets and name none.

    Raises
    ------
    ValueError
        A class, a parameter or a preset is not there; the message lists what is.
    """
    known = known_methods()
    methods = [_parse_method(text, preset, known) for text in dict.fromkeys(texts or known)]
    if preset is not None and not any("preset" in method.params for method in methods):
        raise ValueError(f"--preset {preset}: none of {', '.join(m.label for m in methods)} has presets")
    return methods


def _parse_method(text: str, preset: str | None, known: Mapping[str, type[Hasher]]) -> Method:
    name, _, rest = text.partition(":")
    if name not in known:
        raise ValueError(f"--methods {text!r}: there is no class {name!r}, only {', '.join(known)}")
    accepted = [key for key in inspect.signature(known[name]).parameters if key not in _GIVEN_ELSEWHERE]
    params: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        key, given, value = item.rpartition("=")
        params[key if given else "preset"] = _value(value) if given else value
    for key in params:
        if key not in accepted:
            raise ValueError(
                f"--methods {text!r}: {name} has no parameter {key!r}, only {', '.join(accepted)}"
            )
    label = text
    if preset is not None and "preset" in accepted and "preset" not in params:
        params["preset"] = preset
        label = ",".join([f"{name}:{preset}", *filter(None, [rest])])
    return Method(label, known[name], params)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
