"""Publish and consume with pika so that no acknowledged message is lost.

    pika_app.py publish <amqp-urls> <queue> <count>
    pika_app.py consume <amqp-urls> <queue>

publish prints "acked <value>" for every message the broker has confirmed;
consume prints "received <value>" for every message it has processed, and runs
until SIGTERM. Both survive any number of broker restarts. The URLs, with commas, are
of the nodes of one cluster.
"""

import signal
import sys
import time

import pika
from pika.exceptions import AMQPConnectionError, ChannelWrongStateError, NackError

# What a caller sees when the broker goes away: the connection's own errors,
# and, for a call made after the loss was noticed, a channel already closed.
CONNECTION_LOST = (AMQPConnectionError, ChannelWrongStateError)

BODY_SIZE = 1024  # bytes: the value, padded with dots
PREFETCH = 100
RECONNECT_DELAY = 0.2  # seconds


def open_channel(urls, queue):
    """Connect to one of the nodes, for as long as it takes, and declare the queue."""
    while True:
        try:
            connection = pika.BlockingConnection([pika.URLParameters(url) for url in urls.split(",")])
            channel = connection.channel()
            channel.queue_declare(queue, durable=True)
            return channel
        except CONNECTION_LOST as error:
            print(f"connecting: {error!r}", file=sys.stderr)
            time.sleep(RECONNECT_DELAY)


def publish(urls, queue, count):
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)

    def open_confirm_channel():
        channel = open_channel(urls, queue)
        channel.confirm_delivery()  # from here on basic_publish waits for the broker's ack
        return channel

    channel = open_confirm_channel()
    for number in range(count):
        value = f"order-{number}"
        body = value.ljust(BODY_SIZE, ".").encode()
        while True:
            try:
                # mandatory: a message that no queue takes raises UnroutableError
                # instead of being confirmed and forgotten.
                channel.basic_publish("", queue, body, persistent, mandatory=True)
                break
            except NackError:
                # The leader changed under it: the outcome is as unknown as below.
                print(f"publishing {value}: nacked", file=sys.stderr)
            except CONNECTION_LOST as error:
                # Unknown outcome: the broker may have it or not. Publishing again
                # may make a duplicate; not publishing may lose it.
                print(f"publishing {value}: {error!r}", file=sys.stderr)
                channel = open_confirm_channel()
        print("acked", value, flush=True)
    channel.connection.close()


def consume(urls, queue):
    stopping = False

    def stop(_signal, _frame):
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)

    while not stopping:
        channel = open_channel(urls, queue)
        try:
            channel.basic_qos(prefetch_count=PREFETCH)
            # With an inactivity timeout the generator yields (None, None, None)
            # now and then, so that a stop is noticed on a quiet queue too.
            for method, _properties, body in channel.consume(queue, inactivity_timeout=0.1):
                if method is not None:
                    print("received", body.decode().rstrip("."), flush=True)
                    channel.basic_ack(method.delivery_tag)  # only after the work is done
                if stopping:
                    break
            channel.cancel()  # hands back what was prefetched and not processed
            channel.connection.close()
        except CONNECTION_LOST as error:
            # What was delivered and not acked comes again on the next connection.
            print(f"consuming: {error!r}", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1] == "publish":
        publish(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        consume(sys.argv[2], sys.argv[3])
