"""The form that makes a first challenge file."""

from datetime import timedelta
from typing import Any

import yaml
from django import forms
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from evaluator.protocol import named_protocols

LABEL_HELP = gettext_lazy(
    "One structure per line: name = value in the label map, and after a comma its NSD tolerance in mm. liver = 1, 5"
)


class NewChallengeForm(forms.Form):
    """Enough to begin with. Everything else is written in the file this makes."""

    title = forms.CharField(max_length=160, label=gettext_lazy("Title"))
    slug = forms.SlugField(
        max_length=80,
        label=gettext_lazy("Short name in addresses"),
        help_text=gettext_lazy("Small letters, digits and hyphens."),
        error_messages={"invalid": gettext_lazy("Only small letters, digits and hyphens stand in addresses.")},
    )
    summary = forms.CharField(max_length=300, required=False, label=gettext_lazy("Summary"))
    template = forms.ChoiceField(
        choices=[("", gettext_lazy("your own")), *((name, name) for name in named_protocols())],
        required=False,
        label=gettext_lazy("Rules"),
        help_text=gettext_lazy("Those of a published challenge bring their labels, metrics and limits along."),
    )
    labels = forms.CharField(
        label=gettext_lazy("Labels"),
        widget=forms.Textarea(attrs={"rows": 4, "class": "mono"}),
        help_text=LABEL_HELP,
        required=False,
    )
    kind = forms.ChoiceField(
        choices=[
            ("container", gettext_lazy("Container images")),
            ("predictions", gettext_lazy("Archives of predictions")),
        ],
        label=gettext_lazy("Teams submit"),
    )
    days = forms.IntegerField(min_value=1, max_value=3650, initial=90, label=gettext_lazy("Open for days"))
    wall_seconds = forms.IntegerField(min_value=1, initial=600, label=gettext_lazy("Time limit per case (seconds)"))
    memory_mb = forms.IntegerField(min_value=64, initial=8192, label=gettext_lazy("Memory limit (MB)"))

    def clean_labels(self) -> dict[str, dict[str, Any]]:
        """`liver = 1, 5` becomes {liver: {values: 1, tolerance_mm: 5}}."""
        labels: dict[str, dict[str, Any]] = {}
        for line in filter(None, map(str.strip, self.cleaned_data["labels"].splitlines())):
            name, equals, rest = line.partition("=")
            value, _, tolerance = rest.partition(",")
            try:
                labels[name.strip()] = {"values": int(value), "tolerance_mm": float(tolerance or 1)}
            except ValueError:
                equals = ""
            if not equals or not name.strip():
                raise forms.ValidationError(
                    gettext("Found “%(line)s”; expected a line such as: liver = 1, 5") % {"line": line}
                )
        if not labels and not self.cleaned_data.get("template"):
            raise forms.ValidationError(gettext("Name the labels, or choose the rules of a published challenge."))
        return labels

    def challenge_file(self) -> str:
        """The YAML text of the challenge these answers describe."""
        data, opens = self.cleaned_data, timezone.now().replace(microsecond=0)
        written = "segmentation.nii.gz" if data["kind"] == "container" else "{case}.nii.gz"
        protocol: dict[str, Any] = {
            "protocol": 1,
            "name": data["slug"],
            "title": data["title"],
            "labels": data["labels"],
            "inputs": [{"name": "image", "file": "image.nii.gz"}],
            "outputs": [{"name": "segmentation", "kind": "label_map", "file": written}],
            "metrics": [{"name": "dice"}, {"name": "nsd"}],
            "resources": {"wall_seconds": data["wall_seconds"], "memory_mb": data["memory_mb"]},
            "release": "aggregate",
        }
        if data["template"]:
            protocol = {"use": data["template"]}
        phase = {
            "slug": "main",
            "title": "Main phase",
            "kind": data["kind"],
            "opens_at": opens.isoformat(),
            "closes_at": (opens + timedelta(days=data["days"])).isoformat(),
            "submission_limit": 3,
            "submission_window_days": 7,
        }
        document = {key: data[key] for key in ("slug", "title", "summary")} | {"protocol": protocol, "phases": [phase]}
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
