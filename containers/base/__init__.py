"""The base image the examples and tests build on, made on this machine without any image registry."""
