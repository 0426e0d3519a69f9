"""Checks that a wheel holds the whole package and nothing beside it."""

import sys
import zipfile
from pathlib import Path

packed = set(zipfile.ZipFile(sys.argv[1]).namelist())
source = {str(path) for path in Path("kgrad").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
missing = sorted(source - packed)
foreign = sorted(name for name in packed - source if ".dist-info/" not in name)
if missing or foreign:
    sys.exit(f"wheel lacks {missing} and should not hold {foreign}")
print(f"wheel: {len(packed)} files, {Path(sys.argv[1]).stat().st_size / 1e6:.2f} MB")
