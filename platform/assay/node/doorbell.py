"""Being woken by the broker. Needs kombu (it comes with Celery). An agent without a broker polls instead.

The server rings by sending a Celery message to the pool's queue. A Celery worker here would fork, prefetch and hold messages
to execute. The agent wants to be woken and nothing else, so it consumes the queue with kombu, the layer below, and throws the
messages away: what there is to do is asked of the server.
"""

import logging
import threading

from kombu import Connection, Consumer, Exchange, Message, Queue
from kombu.mixins import ConsumerMixin

log = logging.getLogger(__name__)

QUEUE_ARGUMENTS = {"x-queue-type": "quorum"}
"""As the server declares it, which RabbitMQ insists on. Redis knows no types."""


class BrokerDoorbell(ConsumerMixin):  # type: ignore[misc]  # kombu is untyped
    """Listens on one pool's queue from a thread of its own, and reconnects by itself for as long as it lives."""

    def __init__(self, *, url: str, pool: str, stopping: threading.Event) -> None:
        self.connection = Connection(url, heartbeat=30, transport_options={"socket_keepalive": True})
        name = f"pool.{pool}"
        self._queue = Queue(name, Exchange(name), routing_key=name, queue_arguments=QUEUE_ARGUMENTS)
        self._stopping = stopping
        self._rung = threading.Condition()
        self._rings = 0
        self._heard = threading.local()
        self._thread = threading.Thread(target=self._listen, name="doorbell", daemon=True)

    @property
    def should_stop(self) -> bool:
        """Whether to listen no longer: asked by the mixin about once a second."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def join(self) -> None:
        """Wait until it listens no longer, which is a second after the agent was stopped."""
        self._thread.join()

    def wait(self, seconds: float) -> None:
        """Return when it rang since this thread waited last, or after `seconds`."""
        heard = getattr(self._heard, "rings", 0)
        with self._rung:
            self._rung.wait_for(lambda: self._rings > heard or self._stopping.is_set(), timeout=seconds)
            self._heard.rings = self._rings

    def wake(self) -> None:
        """Wake everybody who waits."""
        with self._rung:
            self._rings += 1
            self._rung.notify_all()

    def get_consumers(self, Consumer: type[Consumer], channel: object) -> list[Consumer]:  # noqa: N803, ARG002  kombu's signature
        """One consumer. Whatever arrives is a ring."""
        return [Consumer(queues=[self._queue], callbacks=[self._on_message], accept=["json"], prefetch_count=100)]

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        """The broker is away: the agent polls meanwhile."""
        log.warning("broker.away", extra={"error": str(exc), "retry_seconds": interval})

    def _on_message(self, body: object, message: Message) -> None:  # noqa: ARG002  kombu's signature
        message.ack()
        self.wake()

    def _listen(self) -> None:
        self.run()
