"""Being woken by the broker, and listening no longer than the agent takes work."""

import threading

from kombu import Connection

from assay.node.doorbell import BrokerDoorbell
from waits import HANGS_AFTER_SECONDS

MEMORY = "memory://"


def test_a_message_wakes_and_a_stopped_agent_listens_no_longer():
    stopping = threading.Event()
    doorbell = BrokerDoorbell(url=MEMORY, pool="bell", stopping=stopping)
    doorbell.start()
    with Connection(MEMORY) as connection:
        connection.Producer().publish({}, exchange="pool.bell", routing_key="pool.bell", declare=[doorbell._queue])
    doorbell.wait(HANGS_AFTER_SECONDS)
    assert doorbell._rings == 1

    stopping.set()
    doorbell.join()
    assert not doorbell._thread.is_alive()
