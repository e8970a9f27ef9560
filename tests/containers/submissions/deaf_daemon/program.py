"""Ignore every signal that can be ignored, fork twice, leave the session, outlive the parent."""

import os, signal, time

for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
if os.fork() == 0:
    os.setsid()
    os.fork()
while True:
    time.sleep(1)
