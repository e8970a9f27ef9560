"""Handing in, watching, cancelling."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from assay.accounts.errors import AssayError
from assay.accounts.models import Team, User
from assay.accounts.origins import origin_of
from assay.challenges.access import get_phase, is_organizer, signed_in
from assay.challenges.models import Phase
from assay.challenges.protocols import rules_of
from assay.evaluations.disclosure import as_seen
from assay.pages.errors import error_words
from assay.pages.submissions import page_version, submission_page
from assay.pages.tables import FORMATS, table_file
from assay.portal.facts import archive_tree
from assay.portal.forms import SubmitForm
from assay.portal.views.challenge import frame
from assay.submissions import uploads
from assay.submissions.access import competing_team, get_own_submission, get_readable_submission, given_file
from assay.submissions.kept import kept_files
from assay.submissions.models import Submission, Upload
from assay.submissions.referring import refer
from assay.submissions.registry import Login
from assay.submissions.selectors import eligibility_of, unfinished_uploads
from assay.submissions.services import PURPOSES, Entry
from assay.testsets.selectors import case_names
from assay.workflow import flow
from assay.workflow.operations.keeping import ask_for_deletion
