"""Leave names that break scripts: newlines, invalid UTF-8, options, depth, and folders nobody may enter."""

import os
from pathlib import Path

Path("/output/result.txt").write_text("held")
for name in (b"new\nline", b"\xff\xfe", b"-rf", b"; rm -rf ~", b"$(id)"):
    os.close(os.open(b"/output/" + name, os.O_CREAT | os.O_WRONLY, 0o000))
os.chdir("/output")
for _ in range(40):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
os.chmod(".", 0o000)
