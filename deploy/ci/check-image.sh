#!/bin/sh
# Check an algorithm image as Assay would, in a pipeline. Exit code 0: Assay would take it, and it ran on the cases that were given.
#
#   ASSAY_IMAGE      the image, or an archive of it (docker save)                   needed
#   ASSAY_PHASE      CHALLENGE/PHASE on a server, with ASSAY_URL and ASSAY_TOKEN    this
#   ASSAY_PROTOCOL   or the name or file of a protocol                              or that
#   ASSAY_CASES      a folder of public cases with manifest.csv                     optional
#   ASSAY_BUILD      a folder with a Dockerfile, built as ASSAY_IMAGE first         optional
set -eu

fail() { echo "check-image: $1" >&2; exit 2; }

[ -n "${ASSAY_IMAGE:-}" ] || fail "ASSAY_IMAGE is not set. Set it to the image's name or to an archive made by docker save."
[ -n "${ASSAY_PHASE:-}${ASSAY_PROTOCOL:-}" ] || fail "Whose rules apply? Set ASSAY_PHASE (CHALLENGE/PHASE) or ASSAY_PROTOCOL (a name or a file)."
[ -z "${ASSAY_PHASE:-}" ] || [ -z "${ASSAY_PROTOCOL:-}" ] || fail "Both ASSAY_PHASE and ASSAY_PROTOCOL are set. Set one."
command -v assay >/dev/null || fail "There is no command assay. Install the wheel that your organizers name, then run this again."

if [ -n "${ASSAY_BUILD:-}" ]; then
  docker build --platform linux/amd64 --tag "$ASSAY_IMAGE" "$ASSAY_BUILD"
fi

set -- "$ASSAY_IMAGE"
if [ -n "${ASSAY_PHASE:-}" ]; then set -- "$@" --phase "$ASSAY_PHASE"; else set -- "$@" --protocol "$ASSAY_PROTOCOL"; fi
if [ -n "${ASSAY_CASES:-}" ]; then set -- "$@" --cases "$ASSAY_CASES"; fi
exec assay check "$@"
