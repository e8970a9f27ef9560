#!/bin/sh
# Builds the image and lets the self-test run it: no network, the limits of the challenge, the platform's own reader.
set -eu
cd "$$(dirname "$$0")"
image="$${1:-$image}"
docker build --quiet --build-arg "BASE_IMAGE=$${BASE_IMAGE:-assay/base-python}" --tag "$$image" .
python3 selftest.py --image "$$image"
