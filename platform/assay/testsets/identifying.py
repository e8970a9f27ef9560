"""Fields of headers that may say who a patient is.

Images are written again without them, so they never leave. A pushed folder that holds some is refused all the same until its organizer
says that they may be here: they did not mean to send it, and other copies of it lie elsewhere.
"""

import re
from pathlib import Path

from evaluator.errors import EvaluatorError
from evaluator.volumes import header_texts

FIELDS = {
    "0010|0010": "PatientName",
    "0010|0030": "PatientBirthDate",
    "0010|1000": "OtherPatientIDs",
    "0010|1001": "OtherPatientNames",
    "0010|1005": "PatientBirthName",
    "0010|1040": "PatientAddress",
    "0010|1060": "PatientMotherBirthName",
    "0010|2154": "PatientTelephoneNumbers",
    "0008|0050": "AccessionNumber",
    "0008|0090": "ReferringPhysicianName",
    "0008|1048": "PhysiciansOfRecord",
    "0008|1050": "PerformingPhysicianName",
    "0008|1070": "OperatorsName",
}
"""DICOM PS3.15 table E.1-1, action Z or X, those whose value names a person. PatientID is left out: pseudonyms stand there."""
TEXTS = ("descrip", "aux_file", "db_name", "intent_name")
"""Free texts of a NIfTI header."""
NAME_OR_DATE = re.compile(
    r"\^|\b(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])\b|\d\d\.\d\d\.(19|20)\d\d|patient|born", re.IGNORECASE
)
"""A name as DICOM writes it, a day, or the word itself."""
HARMLESS = re.compile(
    r"(anonym\w*|anon|removed|none|unknown|redacted|xxx*|deidentified|de-identified|0*|00000101|19000101)?", re.I
)
"""Values that tools for de-identification leave behind."""
DICOM_MAGIC = b"DICM"


def identifying_fields(path: Path, *, case_id: str) -> list[str]:
    """Names of the fields that may say who the patient is, never their values. A value that is the case's own name says nothing."""
    try:
        texts = header_texts(path)
    except EvaluatorError:
        return []
    wanted = {**FIELDS, **{name: name for name in FIELDS.values()}}
    found = [
        wanted[key]
        for key, value in texts.items()
        if key in wanted and not HARMLESS.fullmatch(value.strip("^ ")) and case_id.lower() not in value.lower()
    ]
    return sorted({*found, *(key for key in TEXTS if NAME_OR_DATE.search(texts.get(key, "")))})


def is_dicom(path: Path) -> bool:
    """Whether a single file is DICOM, whatever it is called."""
    with path.open("rb") as file:
        return file.read(132)[128:] == DICOM_MAGIC
