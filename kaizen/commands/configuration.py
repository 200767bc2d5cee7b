"""`kaizen config`: the configuration in force and where each value came from; the reference of all keys."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from kaizen.commands.options import ConfigOption, JsonOption
from kaizen.commands.output import Terminal, print_json
from kaizen.config_sources import Loaded, expected, fields, load_settings, mask_secrets, sections, variable_of


def config(
    reference: Annotated[bool, typer.Option("--reference", help="Print all keys as Markdown instead.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the configuration in force and where each value came from."""
    if reference:
        typer.echo(reference_markdown(), nl=False)
        return
    loaded = load_settings(config)
    if as_json:
        print_json({"file": loaded.path, "values": effective(loaded)})
        return
    rows = [[name, item["value"], item["origin"]] for name, item in effective(loaded).items()]
    Terminal().table(["key", "value", "from"], rows, title=f"configuration from {loaded.path or 'no file'}")


def effective(loaded: Loaded) -> dict[str, dict[str, Any]]:
    """Return `section.field` -> `value` (secrets masked) and `origin`."""
    values = loaded.settings.model_dump(mode="json")
    found = {name: values[name.partition(".")[0]][name.partition(".")[2]] for name in fields()}
    return {
        name: {"value": mask_secrets(value) if isinstance(value, str) else value, "origin": str(loaded.origins[name])}
        for name, value in found.items()
    }


def reference_markdown() -> str:
    """Return the reference of every section and key, made from the model itself."""
    intro = (
        "# Configuration\n\n"
        "Made by `kaizen config --reference`; a test holds it equal to the code.\n\n"
        "Values come from, in rising order: the defaults below, `kaizen.toml` (`--config FILE`, else `$KAIZEN_CONFIG`, "
        "else the current directory), variables `KAIZEN_<SECTION>_<KEY>`. Unknown keys and variables are refused; "
        "beside these there are only `KAIZEN_CONFIG`, and `KAIZEN_URL` and `KAIZEN_API_KEY` of the commands. "
        "Relative paths in the file are relative to the file. `kaizen config` shows what is in force and why.\n"
    )
    return "\n".join([intro, *map(_section, sections())])


def _section(section: str) -> str:
    keys = {name: info for name, info in fields().items() if name.startswith(f"{section}.")}
    lines = [
        f"## [{section}]\n",
        f"{inspect.getdoc(sections()[section])} For example `{variable_of(next(iter(keys)))}`.\n",
        "| key | default | takes | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, info in keys.items():
        cells = (f"`{name.partition('.')[2]}`", _default(info.default), expected(info, name), info.description or "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _default(value: object) -> str:
    if value is None:
        return "not set"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if text else "empty"
