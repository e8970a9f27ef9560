"""Keep memory where the cgroup may not count it: in the buffers of sockets that this program opens to itself."""

import socket, struct
from pathlib import Path

WANTED = 200 * 2**20
PIECE = b"x" * 4000
kept = []


def fill(send):
    sent = 0
    try:
        while sent < 2**20:
            sent += send()
    except OSError:  # this buffer is full
        pass
    return sent


def large(made):
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, 2**24)
    made.setblocking(False)
    kept.append(made)
    return made


def netlink_errors():
    made = large(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
    request = struct.pack("IHHII", 16 + len(PIECE), 16, 5, 0, 0) + PIECE  # refused: each answer carries the request
    return fill(lambda: made.sendto(request, (0, 0)))


def netlink_to_itself():
    made = large(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2))
    made.bind((0, 0))
    own = made.getsockname()
    return fill(lambda: made.sendto(struct.pack("IHHII", 16 + len(PIECE), 32, 0, 0, 0) + PIECE, own))


def udp():
    made = large(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.bind(("127.0.0.1", 0))
    sent = 0
    while sent < 400_000:
        sent += made.sendto(b"x" * 32_000, made.getsockname())
    return sent


def tcp():
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = large(socket.create_connection(server.getsockname()))
        other = large(server.accept()[0])
    return fill(lambda: one.send(b"x" * 65536)) + fill(lambda: other.send(b"x" * 65536))


reached = {}
for way in (netlink_errors, netlink_to_itself, udp, tcp):
    total = 0
    try:
        while total < WANTED:
            total += way()
    except OSError as error:
        print(way.__name__, error)
    reached[way.__name__] = total
    if total >= WANTED:
        break
    kept.clear()
print(reached)
Path("/output/result.txt").write_text("escaped" if max(reached.values()) >= WANTED else "held")
