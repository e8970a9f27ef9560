"""From a language model's free text to the option it chose, without chance and without another model.

The rules, in order, are VLMEvalKit's (which GMAI-MMBench uses), minus its judge and its random last resort:

1. a refusal is no answer;
2. with punctuation blanked, exactly one option letter stands in the text, and among its last four words: that letter;
3. "answer is X", the letter possibly in bold: that letter;
4. the text is at most twice as long as all options together and contains exactly one option's text: that option.

Anything else is no answer, and no answer is wrong.

`parse_as_vlmevalkit` follows that code to the letter, where it differs. It knows four refusals, spelled exactly. The letter of rule 2
must stand among the last four words where it occurs first. Rule 3 reads the letter that follows "answer is ", of A to D, even where
it begins a word ("the answer is Both" is B). What it cannot read goes to a judging model, or is wrong.
"""

import re
from collections.abc import Callable, Mapping

REFUSALS = (
    "sorry, i can't help", "sorry, i cannot help", "i can't process this", "i cannot process this", "failed to obtain answer",
    "cannot determine", "can't determine", "unable to determine",
)  # fmt: skip
PUBLISHED_REFUSALS = (
    "Sorry, I can't help with images of people yet.", "I can't process this file.", "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)  # fmt: skip
PUBLISHED_FAILURE = "Failed to obtain answer via API"
LAST_WORDS = 4
_PUNCTUATION = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))


def parse_choice(text: str, *, options: Mapping[str, str]) -> str | None:
    """The letter the text chooses among `options` (letter → text), or None."""
    if any(refusal in text.lower() for refusal in REFUSALS):
        return None
    words = text.translate(_PUNCTUATION).split()
    letters = {word for word in words if word in options}
    if len(letters) == 1 and letters & set(words[-LAST_WORDS:]):
        return letters.pop()
    stated = re.search(rf"answer is\s*:?\s*\**\(?([{''.join(map(re.escape, options))}])\b", text, re.IGNORECASE)
    if stated:
        return stated[1].upper()
    return _by_text(text.lower(), options)


def parse_as_vlmevalkit(text: str, *, options: Mapping[str, str]) -> str | None:
    """The letter that VLMEvalKit reads (vlmeval/utils/matching_util.py, `can_infer`), or None. `Z` stands for a refusal there."""
    if PUBLISHED_FAILURE not in text:
        if any(refusal in text for refusal in PUBLISHED_REFUSALS):
            return None
        words = text.translate(_PUNCTUATION).split()
        letters = {word for word in words if word in options}
        if len(letters) == 1 and words.index(next(iter(letters))) >= len(words) - LAST_WORDS:
            return letters.pop()
        if not letters and "Z" in words:
            return None
        stated = re.search(r"answer\s+is\s+\**([A-D])", text, re.IGNORECASE)
        if stated and stated[1].upper() in options:
            return stated[1].upper()
    return _by_text(text.lower(), options)


def _by_text(text: str, options: Mapping[str, str]) -> str | None:
    if len(text) > 2 * sum(len(option) for option in options.values()):
        return None
    named = [letter for letter, option in options.items() if option and option.lower() in text]
    return named[0] if len(named) == 1 else None


PARSERS: Mapping[str, Callable[..., str | None]] = {"strict": parse_choice, "vlmevalkit": parse_as_vlmevalkit}
"""By the name that a protocol gives."""
