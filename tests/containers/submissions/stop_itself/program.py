"""Stop every process in the container, itself included."""

import os, signal

try:
    os.kill(-1, signal.SIGSTOP)
except ProcessLookupError:
    pass
os.kill(os.getpid(), signal.SIGSTOP)
