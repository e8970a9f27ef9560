"""The node's images: fetched once as rewritten archives, loaded by their ID, shared by all slots."""

import logging
import threading
from pathlib import Path

from assay.node.http import NodeApi
from assay.node.orders import WorkOrder
from containers.engine import Engine
from containers.errors import ImageAbsent
from containers.intake import load_archive

log = logging.getLogger(__name__)


class ImageShelf:
    """Makes sure that an image is in the engine before it runs. One fetch at a time: two slots often want the same image."""

    def __init__(self, *, folder: Path, api: NodeApi) -> None:
        self._folder = folder
        self._api = api
        self._lock = threading.Lock()

    def provide(self, order: WorkOrder, *, engine: Engine) -> None:
        """Return once the engine has the order's image."""
        with self._lock:
            if has_image(engine, order.image_id):
                return
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            archive = self._folder / f"{order.image.sha256}.tar"
            try:
                self._api.fetch(order.image, destination=archive)
                load_archive(engine, archive, order.image_id)
            finally:
                archive.unlink(missing_ok=True)
            log.info("image.loaded", extra={"image_id": order.image_id})


def has_image(engine: Engine, image_id: str) -> bool:
    """Whether the engine has this very image."""
    try:
        engine.image_facts(image_id)
    except ImageAbsent:
        return False
    return True
