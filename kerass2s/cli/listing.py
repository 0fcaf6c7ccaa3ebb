"""`kerass2s list`: what is in the zoo."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from kerass2s.cli.app import examples, quiet_tensorflow
from kerass2s.cli.models import AsJson


class Kind(StrEnum):
    """What can be listed."""

    architectures = "architectures"
    presets = "presets"
    recipes = "recipes"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("list", epilog=examples("list", "list recipes", "list architectures --json"))(list_zoo)


def list_zoo(
    kind: Annotated[Kind | None, typer.Argument(help="Only this kind; all kinds without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """List architectures, presets and recipes."""
    found = {each.value: _COLLECT[each]() for each in ([kind] if kind else list(Kind))}
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for title, rows in found.items():
        print(title)
        width = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            print(f"  {row['name']:<{width}}  {row['about']}")
        if not rows:
            print("  (none)")


def _architectures() -> list[dict[str, Any]]:
    quiet_tensorflow()
    from dataclasses import asdict

    from kerass2s import zoo

    return [
        {
            "name": name,
            "about": zoo.entry(name).CITATION,
            "config": asdict(zoo.entry(name).Config()),
            "presets": sorted(zoo.entry(name).PRESETS),
        }
        for name in zoo.names()
    ]


def _presets() -> list[dict[str, Any]]:
    quiet_tensorflow()
    from kerass2s.release import shipped

    return [
        {
            "name": each.name,
            "about": f"{each.megabytes:.1f} MB, {each.licence}; {each.data}; {', '.join(each.shown)}",
            "megabytes": each.megabytes,
            "licence": each.licence,
            "data": each.data,
            "figures": each.figures,
        }
        for each in shipped()
    ]


def _recipes() -> list[dict[str, Any]]:
    from kerass2s import recipes

    rows = []
    for name in recipes.names():
        recipe = recipes.load(name)
        rows.append(
            {
                "name": name,
                "about": f"{recipe.architecture} on {recipe.data.name or 'your files'}",
                "recipe": recipes.to_dict(recipe),
            }
        )
    return rows


_COLLECT = {Kind.architectures: _architectures, Kind.presets: _presets, Kind.recipes: _recipes}
