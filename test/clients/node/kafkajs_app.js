// Produce and consume with kafkajs so that no acknowledged record is lost.
//
//     node kafkajs_app.js publish <bootstrap-servers> <topic> <count>
//     node kafkajs_app.js consume <bootstrap-servers> <topic>
//
// publish prints "acked <value> <partition> <offset>" for every record the broker has
// acknowledged; consume prints "received <value> <partition> <offset>" for every record it has
// processed, and runs until SIGTERM. Both survive any number of broker restarts.
'use strict';

const { Kafka, logLevel } = require('kafkajs');

const VALUE_SIZE = 1024; // bytes: the value, padded with dots
const PARTITIONS = 4;
const REPLICAS = -1; // as many as the cluster gives by default
const BATCH = 100; // records in one request
const ACKS_ALL = -1;

function newClient(servers) {
  return new Kafka({
    clientId: 'waybill-example',
    brokers: servers.split(','),
    logLevel: logLevel.WARN,
    // The library's own retries: long enough to outlive a broker restart.
    retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 100 },
  });
}

async function publish(servers, topic, count) {
  const client = newClient(servers);
  await createTopic(client, topic);
  // Idempotence: a retry after a lost answer makes no duplicate.
  const producer = client.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (let start = 0; start < count; start += BATCH) {
    const partition = (start / BATCH) % PARTITIONS;
    const values = [];
    for (let n = start; n < Math.min(start + BATCH, count); n++) values.push(`order-${n}`);
    const [result] = await producer.send({
      topic,
      acks: ACKS_ALL,
      messages: values.map((value) => ({ partition, value: value.padEnd(VALUE_SIZE, '.') })),
    });
    // The values of one batch stand at consecutive offsets.
    values.forEach((value, i) => console.log('acked', value, partition, Number(result.baseOffset) + i));
  }
  await producer.disconnect();
}

async function createTopic(client, topic) {
  const admin = client.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: REPLICAS }] });
  await admin.disconnect();
}

async function consume(servers, topic) {
  const consumer = newClient(servers).consumer({
    groupId: `${topic}-readers`,
    sessionTimeout: 6_000,
    maxBytesPerPartition: 128 * 1024,
  });
  const stopped = new Promise((resolve) => process.once('SIGTERM', resolve));

  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, isRunning, isStale }) => {
      let next;
      for (const { offset, value } of batch.messages) {
        if (!isRunning() || isStale()) break;
        console.log('received', value.toString().replace(/\.+$/, ''), batch.partition, offset);
        next = (BigInt(offset) + 1n).toString();
      }
      // Committed is the next offset to read. If this fails, the library joins the group anew
      // and the batch comes again.
      if (next) await consumer.commitOffsets([{ topic, partition: batch.partition, offset: next }]);
    },
  });
  await stopped;
  await consumer.disconnect(); // waits for the batch under way
}

const [action, servers, topic, count] = process.argv.slice(2);
if (action === 'publish') publish(servers, topic, Number(count));
else consume(servers, topic);
