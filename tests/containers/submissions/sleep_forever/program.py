"""Hang without a word."""

import time

time.sleep(3600)
