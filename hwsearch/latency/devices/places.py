"""Where devices are looked for."""

from __future__ import annotations

from pathlib import Path

#: Devices that come with an installed hwsearch, and those of a checkout.
PACKAGED = Path(__file__).parents[2] / "latency_tables"
CHECKOUT = Path(__file__).parents[3] / "latency_tables"


def tables_folders() -> list[Path]:
    """Folders that devices are looked for in, the user's first."""
    candidates = [Path("latency_tables"), CHECKOUT, PACKAGED]
    found = {folder.resolve(): folder for folder in candidates if folder.is_dir()}
    return list(found.values())


def device_folders() -> dict[str, Path]:
    """Every known device and its folder; a user's device hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for folder in tables_folders():
        for entry in sorted(folder.iterdir()):
            if (entry / "device.toml").is_file():
                found.setdefault(entry.name, entry)
    return found
