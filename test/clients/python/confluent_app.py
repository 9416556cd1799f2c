"""Produce and consume with confluent-kafka so that no acknowledged record is lost.

    confluent_app.py publish <bootstrap-servers> <topic> <count>
    confluent_app.py consume <bootstrap-servers> <topic>

publish prints "acked <value> <partition> <offset>" for every record the broker
has acknowledged; consume prints "received <value> <partition> <offset>" for every
record it has processed, and runs until SIGTERM. Both survive any number of broker
restarts.
"""

import signal
import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

VALUE_SIZE = 1024  # bytes: the value, padded with dots
PARTITIONS = 4
REPLICAS = -1  # as many as the cluster gives by default
BATCH = 200  # records between two commits


def create_topic(server, topic):
    admin = AdminClient({"bootstrap.servers": server})
    created = admin.create_topics([NewTopic(topic, PARTITIONS, REPLICAS)])[topic]
    try:
        created.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def publish(server, topic, count):
    create_topic(server, topic)
    producer = Producer({
        "bootstrap.servers": server,
        # acks=all and idempotence: retries after a lost answer make no duplicate
        # and keep the order of each partition.
        "acks": "all",
        "enable.idempotence": True,
        "delivery.timeout.ms": 120_000,  # how long the library retries on its own
        "queue.buffering.max.messages": 500,
    })
    failed = []

    def delivered(error, message):
        if error is not None:
            failed.append((message.value(), error))
            return
        value = message.value().decode().rstrip(".")
        print("acked", value, message.partition(), message.offset(), flush=True)

    for number in range(count):
        body = f"order-{number}".ljust(VALUE_SIZE, ".")
        while True:
            try:
                producer.produce(topic, body, on_delivery=delivered)
                break
            except BufferError:  # the local queue is full: let deliveries happen
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    if failed:
        sys.exit(f"{len(failed)} records were not acknowledged, the first: {failed[0]}")


def consume(server, topic):
    stopping = False

    def stop(_signal, _frame):
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)

    consumer = Consumer({
        "bootstrap.servers": server,
        "group.id": f"{topic}-readers",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 6_000,
    })
    consumer.subscribe([topic])
    while not stopping:
        messages = consumer.consume(BATCH, timeout=0.2)
        for message in messages:
            if message.error():
                print(f"consuming: {message.error()}", file=sys.stderr)
                continue
            value = message.value().decode().rstrip(".")
            print("received", value, message.partition(), message.offset(), flush=True)
        if messages:
            commit(consumer)
    consumer.close()


def commit(consumer):
    """Commit what was processed. A commit that fails is made good by the next one."""
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as error:
        # _NO_OFFSET: nothing new since the last commit. Anything else: the broker
        # is away or the group rebalances, and the records may come again.
        if error.args[0].code() != KafkaError._NO_OFFSET:
            print(f"committing: {error}", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1] == "publish":
        publish(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        consume(sys.argv[2], sys.argv[3])
