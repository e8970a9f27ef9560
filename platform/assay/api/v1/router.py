"""The one API object: every noun's router is hung on it here, every error becomes the same envelope here."""

from ninja import NinjaAPI

api = NinjaAPI(title="Assay", version="1", urls_namespace="api-v1", docs_url="docs", openapi_url="openapi.json")
