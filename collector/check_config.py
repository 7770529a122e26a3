# SPDX-License-Identifier: Apache-2.0
"""`firesteel check-config`: everything that is wrong with a configuration, or all that it comes to."""

import json
import sys
from dataclasses import asdict
from typing import TextIO

from collector.config import ConfigError, Loaded, Source, load
from collector.config_rules import not_yet
from collector.document import Fault
from collector.options import Exit
from collector.schema import KEYS, Config, value_of
from collector.schema_page import yaml_lines


def check_config(source: Source, as_json: bool, out: TextIO | None = None, errors: TextIO | None = None) -> Exit:
    """Print faults to `errors` and WRONG_USE, or the effective configuration to `out` and DONE. JSON goes to `out`."""
    out, errors = out or sys.stdout, errors or sys.stderr
    try:
        loaded = load(source)
    except ConfigError as error:
        if as_json:
            print(json.dumps({"valid": False, "faults": [asdict(fault) for fault in error.faults]}, indent=2), file=out)
        else:
            print_faults(error.faults, errors)
        return Exit.WRONG_USE
    if as_json:
        print(json.dumps(described(loaded), indent=2), file=out)
    else:
        print("\n".join(effective_yaml(loaded)), file=out)
    return Exit.DONE


def print_faults(faults: tuple[Fault, ...], errors: TextIO) -> None:
    """One line each, then how many."""
    for fault in faults:
        print(fault, file=errors)
    print(f"{len(faults)} fault{'s' if len(faults) > 1 else ''}; every key: docs/config.md", file=errors)


def effective_yaml(loaded: Loaded) -> list[str]:
    """The configuration as YAML. A key that somebody set is marked with who did, and with what that means."""
    values = {row.name: text_of(loaded.config, row.name) for row in KEYS}
    notes = {name: f"set by {origin}" for name, origin in loaded.origins.items()}
    return [*yaml_lines(values, notes), *(f"# {sentence}" for sentence in not_yet(loaded.config))]


def described(loaded: Loaded) -> dict[str, object]:
    """The same for machines: values as they would be written, who set them, what this version does not do."""
    return {
        "valid": True,
        "values": {row.name: text_of(loaded.config, row.name) for row in KEYS},
        "set_by": {name: str(origin) for name, origin in loaded.origins.items()},
        "not_in_this_version": not_yet(loaded.config),
    }


def text_of(config: Config, name: str) -> str:
    """A key's value as YAML; one that is the default as the documentation writes it."""
    row = next(row for row in KEYS if row.name == name)
    value = value_of(config, row)
    return row.default if value == value_of(Config(), row) else row.kind.write(value)
