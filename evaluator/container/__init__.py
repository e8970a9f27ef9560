"""The evaluator as a container other platforms can run: see `README.md` beside this file."""
