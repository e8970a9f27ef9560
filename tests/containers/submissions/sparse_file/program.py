"""Claim to hold 500 GB without writing a byte."""

with open("/output/result.txt", "wb") as file:
    file.truncate(500 * 10**9)
