"""Leave something for the next case."""

from pathlib import Path

places = [Path("/tmp/memory"), Path("/dev/shm/memory"), Path("/output/memory")]
found = any(place.exists() for place in places)
for place in places:
    place.write_text("what the last case looked like")
Path("/output/result.txt").write_text("escaped" if found else "held")
