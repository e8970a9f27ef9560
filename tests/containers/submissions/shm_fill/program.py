"""Fill the places that live in memory."""

from pathlib import Path


def fills(place):
    try:
        for number in range(10):
            Path(place, f"fill{number}").write_bytes(bytes(4 * 2**20))
    except OSError:
        return False
    finally:
        for file in Path(place).glob("fill*"):
            file.unlink()
    return True


escaped = [place for place in ("/dev/shm", "/tmp") if fills(place)]
Path("/output/result.txt").write_text("escaped" if escaped else "held")
