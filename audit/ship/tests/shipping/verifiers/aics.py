"""A log in C2SP tiles, checked by the package aics-tlog, unmodified: signature, growth since a note seen before, every tile
and every entry.

Usage: aics.py <vkey> <folder> <note seen before>
"""

import sys
from pathlib import Path

from aics_tlog import (
    FileSystemTileReader,
    audit_tiles,
    consistency_proof_from_tiles,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
)


def head(path: Path, key):
    result = verify_checkpoint(parse_note(path.read_bytes()), key)
    if not result.ok:
        raise ValueError(f"{path.name}: {result.error}")
    return result


def check(vkey: str, folder: Path, seen: Path) -> int:
    key = parse_vkey(vkey)
    new, old = head(folder / "checkpoint", key), head(seen, key)
    reader = FileSystemTileReader(folder)
    proof = consistency_proof_from_tiles(reader, old.size, new.size)
    if not verify_consistency(old.size, new.size, old.root, new.root, proof):
        raise ValueError("the checkpoint does not extend the one seen before")
    return audit_tiles(reader, new.size, new.root).size


try:
    print(f"{check(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))} records\nPASS")
except (ValueError, LookupError, OSError) as error:
    print(f"FAIL {type(error).__name__}: {error}")
    sys.exit(1)
