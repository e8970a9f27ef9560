"""The column that holds a `Usage`: code never sees the stored document."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.expressions import Expression
from django.db.models.fields.json import KeyTransform

from containers.spec import Usage

if TYPE_CHECKING:
    UsageColumn = models.JSONField[Usage, Usage]
else:
    UsageColumn = models.JSONField


class UsageField(UsageColumn):
    """A `Usage` as JSON. What cannot be used of an old row is left out when it is read.

    A part of it, such as `usage__wall_seconds`, comes as it is stored: give it to `Usage.salvaged` under its name.
    """

    def from_db_value(self, value: Any, expression: Expression, connection: Any) -> Any:
        """A row's column becomes a record. A part of it stays what it is."""
        stored = super().from_db_value(value, expression, connection)
        return stored if isinstance(expression, KeyTransform) else Usage.salvaged(stored)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        """Only a `Usage`, or an expression, is ever stored."""
        if isinstance(value, Usage):
            return super().get_db_prep_save(value.to_json(), connection)
        if hasattr(value, "as_sql"):
            return super().get_db_prep_save(value, connection)
        raise TypeError(f"found {type(value).__name__}; expected Usage")

    def value_to_string(self, obj: models.Model) -> Any:
        """For Django's serialisers."""
        return self.value_from_object(obj).to_json()

    def to_python(self, value: Any) -> Usage:
        """For Django's deserialisers."""
        return value if isinstance(value, Usage) else Usage.salvaged(value)

    def value_from_object(self, obj: models.Model) -> Any:
        """The record itself."""
        return getattr(obj, self.attname)
