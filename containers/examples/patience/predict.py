"""Misbehaves: waits for a licence server that no container can reach, until its time limit ends it."""

import socket
import time

LICENCE_SERVER = ("licences.example.org", 443)


def main() -> None:
    """Never gets as far as reading its input."""
    while True:
        try:
            socket.create_connection(LICENCE_SERVER, timeout=1).close()
        except OSError as error:
            print(f"no licence yet: {error}", flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
