"""What a protocol's conventions say, in words for rules pages and reports."""

from evaluator.protocol.conventions import ABORT, COMPUTE, DIAGONAL, SPOIL, Situation, Worth

SITUATIONS = {
    Situation.BOTH_EMPTY: "Structure absent, and none predicted",
    Situation.REFERENCE_EMPTY: "Structure absent, but something predicted",
    Situation.PREDICTION_EMPTY: "Structure present, nothing predicted",
    Situation.FAILED: "No usable prediction: time limit, crash, missing or unusable file",
}
_WORTHS = {
    None: "not counted",
    DIAGONAL: "the image's diagonal",
    COMPUTE: "as computed",
    SPOIL: "the whole case is not counted",
    ABORT: "the submission has no score",
}


def worth_words(worth: Worth) -> str:
    """What a metric is worth."""
    return f"{worth:g}" if isinstance(worth, float | int) else _WORTHS[worth]
