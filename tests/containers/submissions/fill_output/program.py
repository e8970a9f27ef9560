"""Write until the disk is full."""

with open("/output/result.txt", "wb") as file:
    for _ in range(64):
        file.write(b"x" * 2**20)
