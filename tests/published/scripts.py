"""Runs the organizers' published code over our inputs, unchanged, in an environment of its own: `README.md` beside this file.

    var/published/venv/bin/python tests/published/scripts.py var/published/scripts NAME

prints one JSON document: the SHA-256 of each published file that ran, of the inputs, and what the code answered. The code is read from
where it was fetched to. Only what stands between it and running is changed, and each change is said here.
"""

import ast
import contextlib
import hashlib
import importlib.util
import io
import json
import math
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from published import inputs
from published.inputs import Case

FILES = {
    "medfm": "MedFM/medfmc/core/evaluation/eval_metrics.py",
    "gmai-mmbench": "VLMEvalKit/vlmeval/utils/matching_util.py",
    "hecktor22": "hecktor/notebooks/evaluate_segmentation2022.ipynb",
    "segrap23-gtv": "SegRap2023/Eval/SegRap_Task002_DSC_NSD_Eval.py",
}
PACKAGES = {
    "picai": "picai-eval", "picai-findings": "picai-eval", "coco": "pycocotools",
    "grand-challenge-metrics": "grand-challenge-metrics",
}  # fmt: skip
NAMES = (*FILES, *PACKAGES)


def main() -> None:
    """Print the answers of one published code."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    runs: dict[str, Callable[[Path], dict[str, Any]]] = {
        "medfm": medfm, "gmai-mmbench": gmai_mmbench, "hecktor22": hecktor22, "segrap23-gtv": segrap23_gtv,
        "picai": picai, "picai-findings": picai_findings, "coco": coco, "grand-challenge-metrics": grand_challenge_metrics,
    }  # fmt: skip
    source = folder / FILES[name] if name in FILES else None
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = runs[name](source or folder)
    read = (
        {"sha256": hashlib.sha256(source.read_bytes()).hexdigest()} if source else {"package": version(PACKAGES[name])}
    )
    print(json.dumps({"published": read, **answers}, indent=1, default=float))


def _module(path: Path) -> types.ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _answer(function: Callable[[], Any]) -> Any:
    """What it answers, or the name of what it raises: a script that stops says something too. No number is `nan`."""
    try:
        value = function()
    except Exception as problem:  # noqa: BLE001  # whatever stops a script is its answer
        return f"stops: {type(problem).__name__}"
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def medfm(path: Path) -> dict[str, Any]:
    """AUC of colon (one class per image, softmax over the row) and of chest and endoscopy (findings)."""
    published = _module(path)
    tables = inputs.medfm_tables()
    answers = {}
    for name, (truth, scores) in tables.items():
        function = published.AUC_multiclass if name.startswith("colon") else published.AUC_multilabel
        answers[name] = _answer(lambda f=function, t=truth, s=scores: float(f(np.array(s), np.array(t))))
    return {
        "inputs": inputs.fingerprint(list(tables.items())), "scikit-learn": version("scikit-learn"), "answers": answers,
    }  # fmt: skip


def gmai_mmbench(path: Path) -> dict[str, Any]:
    """The letter that is read from each answer, without a judging model. Needed: a module with `get_logger`, which the package has."""
    for name in ("vlmeval", "vlmeval.smp", "vlmeval.smp.log"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["vlmeval.smp.log"].get_logger = lambda _name: None  # type: ignore[attr-defined]  # a module made here
    published = _module(path)
    letters = [published.can_infer(text, dict(options)) or None for text, options in inputs.ANSWERS]
    return {"inputs": inputs.fingerprint(list(inputs.ANSWERS)), "answers": letters}


def _save(path: Path, array: Any, *, spacing: tuple[float, ...], origin: tuple[float, ...] = (0.0, 0.0, 0.0)) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def hecktor22(path: Path) -> dict[str, Any]:
    """DSCagg of both structures. Needed: two folder names in the first cells; everything else of the notebook runs as it is."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    everything = inputs.tumours()
    return {
        "inputs": inputs.fingerprint(everything),
        "SimpleITK": version("SimpleITK"),
        "answers": {name: _hecktor_answer(code, cases) for name, cases in inputs.hecktor_folders().items()},
    }


def _hecktor_answer(code: str, cases: list[Case]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        predictions, references = Path(folder) / "predictions", Path(folder) / "labelsTs"
        for case in cases:
            _save(references / f"{case.name}.nii.gz", case.reference, spacing=case.spacing_mm)
            if case.prediction is not None:
                _save(predictions / f"{case.name}.nii.gz", case.prediction, spacing=case.spacing_mm)
        names = {"prediction_folder": str(predictions), "groundtruth_folder": str(references)}
        room: dict[str, Any] = {}
        return _answer(
            lambda: exec(_with_values(code, names), room) or room["compute_agg_dice"](room["results"])["AggregatedDsc"]
        )


def _with_values(code: str, values: dict[str, str]) -> Any:
    """The code with other values given to names at its top level."""
    tree = ast.parse(code)
    for statement in tree.body:
        if (
            isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Name)
            and statement.targets[0].id in values
        ):
            statement.value = ast.copy_location(ast.Constant(values[statement.targets[0].id]), statement.value)
    return compile(tree, "published", "exec")


def segrap23_gtv(path: Path) -> dict[str, Any]:
    """Dice and NSD of the two tumours. Needed: medpy, three folder names in the script, and `np.Inf`, which NumPy 2 has no more."""
    code = path.read_text()
    vars(np)["Inf"] = np.inf
    answers = {}
    for name, cases in inputs.segrap_folders().items():
        with tempfile.TemporaryDirectory() as folder, _searched(path.parent):
            answers[name] = _answer(lambda f=Path(folder), c=cases: _segrap_answer(code, c, f))
    return {"inputs": inputs.fingerprint(inputs.volumes()), "medpy": version("medpy"), "answers": answers}


def _segrap_answer(code: str, cases: list[Case], folder: Path) -> dict[str, Any]:
    for case in cases:
        for side, mask in (("R", case.reference), ("P", case.prediction)):
            origin = case.origin_of_prediction if side == "P" else (0.0, 0.0, 0.0)
            for structure in ("GTVp", "GTVnd"):
                if mask is not None:
                    _save(
                        folder / side / case.name / f"{structure}.nii.gz", mask, spacing=case.spacing_mm, origin=origin
                    )
    names = {"submission_path": str(folder / "P"), "gt_path": str(folder / "R"), "save_path": str(folder)}
    room: dict[str, Any] = {}
    exec(_with_values(code, names), room)
    table = room["task02_submission_result"]
    return {
        name: {"dice": float(table["GTVp_DSC"][row]), "nsd": float(table["GTVp_NSD"][row])}
        for row, name in sorted(enumerate(table["Name"]), key=lambda pair: pair[1])
    }


@contextlib.contextmanager
def _searched(folder: Path) -> Iterator[None]:
    """Modules beside a script are found, and it stands in no other folder of ours."""
    before = Path.cwd()
    sys.path.insert(0, str(folder))
    os.chdir(tempfile.gettempdir())
    yield
    os.chdir(before)
    sys.path.remove(str(folder))


def picai(_folder: Path) -> dict[str, Any]:
    """Lesions found, missed and invented at IoU ≥ 0.1, with both rules about spare candidates, and the case-level AUROC."""
    import picai_eval

    cases, confidences = inputs.lesions(), inputs.confidences()
    answers: dict[str, Any] = {}
    for spare in (True, False):
        counts = {}
        for case in cases:
            found, _, _, _ = picai_eval.eval.evaluate_case(
                case.prediction, case.reference, allow_unmatched_candidates_with_minimal_overlap=spare
            )
            counts[case.name] = {
                "true_positives": sum(1 for lesion, confidence, _ in found if lesion and confidence > 0),
                "false_positives": sum(1 for lesion, _, _ in found if not lesion),
                "false_negatives": sum(1 for lesion, confidence, _ in found if lesion and confidence == 0),
            }
        answers["spare candidates forgiven" if spare else "spare candidates count"] = counts
    maps = [
        case.prediction.astype(np.float32) * np.float32(value) for case, value in zip(cases, confidences, strict=True)
    ]
    metrics = picai_eval.evaluate(maps, [case.reference for case in cases], num_parallel_calls=1)
    answers["auroc"] = float(metrics.auroc)
    return {"inputs": inputs.fingerprint([*cases, *confidences]), "answers": answers}


def picai_findings(_folder: Path) -> dict[str, Any]:
    """Average precision of lesions and AUROC of cases, over boxes drawn as maps of confidences."""
    import picai_eval

    cases = inputs.box_cases()
    maps = [inputs.drawn_boxes(case.answer).astype(np.float64) / 100 for case in cases]
    references = [inputs.drawn_boxes([(box, 1) for box in case.reference]).astype(np.int32) for case in cases]
    answers = {}
    for spare in (True, False):
        metrics = picai_eval.evaluate(
            maps, references, num_parallel_calls=1, allow_unmatched_candidates_with_minimal_overlap=spare
        )
        name = "forgiven" if spare else "count"
        answers[name] = {"AP": float(metrics.AP), "auroc": float(metrics.auroc)}
    return {"inputs": inputs.fingerprint(cases), "answers": answers}


def coco(_folder: Path) -> dict[str, Any]:
    """Average precision of boxes, of which COCO takes the first two axes, at IoU 0.5 and from 0.5 to 0.95."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    cases = inputs.box_cases()
    flat = [
        (number, (x, y, a - x, b - y), confidence / 100)
        for number, case in enumerate(cases, start=1)
        for (x, y, _, a, b, _), confidence in [*((box, 0) for box in case.reference), *case.answer]
    ]
    truth, said = COCO(), []
    annotations = []
    for number, box, confidence in flat:
        row = {"image_id": number, "category_id": 1, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
        if confidence:
            said.append({**row, "score": confidence})
        else:
            annotations.append({**row, "id": len(annotations) + 1})
    images = [{"id": number} for number in range(1, len(cases) + 1)]
    truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "box"}]}
    truth.createIndex()
    run = COCOeval(truth, truth.loadRes(said), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    answers = {"AP from 0.5 to 0.95": float(run.stats[0]), "AP at 0.5": float(run.stats[1])}
    return {"inputs": inputs.fingerprint(cases), "answers": answers}


def grand_challenge_metrics(_folder: Path) -> dict[str, Any]:
    """Overlaps from a confusion matrix, distances between boundary voxels, volumes."""
    from grand_challenge_metrics import stats

    answers = {}
    for case in inputs.volumes():
        reference, prediction = case.reference > 0, case.prediction > 0
        matrix = stats.calculate_confusion_matrix(reference, prediction, [0, 1])
        spacing = case.spacing_mm
        answers[case.name] = {
            "dice": _answer(lambda m=matrix: float(stats.dice_from_confusion_matrix(m)[1])),
            "iou": _answer(lambda m=matrix: float(stats.jaccard_from_confusion_matrix(m)[1])),
            "accuracy": _answer(lambda m=matrix: float(stats.accuracies_from_confusion_matrix(m)[1])),
            **{
                name: _answer(lambda f=function, r=reference, p=prediction, s=spacing: float(f(r, p, voxelspacing=s)))
                for name, function in {
                    "hd": stats.hausdorff_distance,
                    "hd95": stats.percentile_hausdorff_distance,
                    "assd": stats.modified_hausdorff_distance,
                    "volume_difference": stats.absolute_volume_difference,
                }.items()
            },
            "relative_volume_difference": _answer(
                lambda r=reference, p=prediction: float(stats.relative_absolute_volume_difference(r, p))
            ),
        }
    return {"inputs": inputs.fingerprint(inputs.volumes()), "answers": answers}


if __name__ == "__main__":
    main()
