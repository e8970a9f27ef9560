"""Claim to hold a little more than one file may, within every limit of the file system."""

with open("/output/result.txt", "wb") as file:
    file.truncate(5 * 2**20)
