// Publish and consume with amqplib so that no acknowledged message is lost.
//
//     node amqplib_app.js publish <amqp-urls> <queue> <count>
//     node amqplib_app.js consume <amqp-urls> <queue>
//
// publish prints "acked <value>" for every message the broker has confirmed; consume prints
// "received <value>" for every message it has processed, and runs until SIGTERM. Both survive
// any number of broker restarts. The URLs, with commas, are of the nodes of one cluster.
'use strict';

const { once } = require('node:events');
const { setTimeout: delay } = require('node:timers/promises');
const amqp = require('amqplib');

const BODY_SIZE = 1024; // bytes: the value, padded with dots
const WINDOW = 200; // messages published and not yet confirmed
const PREFETCH = 100;
const RECONNECT_DELAY = 200; // milliseconds

// connect tries one node after the other, for as long as it takes.
async function connect(urls) {
  for (let turn = 0; ; turn++) {
    try {
      const connection = await amqp.connect(urls[turn % urls.length]);
      connection.on('error', (error) => console.error(`connection: ${error.message}`));
      return connection;
    } catch (error) {
      console.error(`connecting: ${error.message}`);
      await delay(RECONNECT_DELAY);
    }
  }
}

async function publish(urls, queue, count) {
  let unconfirmed = Array.from({ length: count }, (_, number) => `order-${number}`);
  while (unconfirmed.length > 0) {
    const connection = await connect(urls);
    try {
      const channel = await connection.createConfirmChannel();
      channel.on('error', (error) => console.error(`channel: ${error.message}`));
      await channel.assertQueue(queue, { durable: true });
      unconfirmed = await publishAll(channel, queue, unconfirmed);
      await connection.close();
    } catch (error) {
      console.error(`publishing: ${error.message}`);
    }
  }
}

// publishAll publishes window by window and returns what was not confirmed: everything from the
// first window that failed. An unconfirmed message may or may not have arrived: it is published
// again, which may make a duplicate but loses nothing.
async function publishAll(channel, queue, values) {
  for (let start = 0; start < values.length; start += WINDOW) {
    const window = values.slice(start, start + WINDOW);
    const confirmed = await Promise.all(window.map((value) => publishOne(channel, queue, value)));
    const missing = window.filter((_, i) => !confirmed[i]);
    if (missing.length > 0) return missing.concat(values.slice(start + WINDOW));
  }
  return [];
}

// publishOne resolves to true once the broker has confirmed the message, and to false when it
// refused it or the channel closed first.
function publishOne(channel, queue, value) {
  return new Promise((resolve) => {
    const body = Buffer.from(value.padEnd(BODY_SIZE, '.'));
    const settle = (error) => {
      if (!error) console.log('acked', value);
      resolve(!error);
    };
    try {
      channel.sendToQueue(queue, body, { persistent: true }, settle);
    } catch (error) {
      settle(error); // the channel is already closed
    }
  });
}

async function consume(urls, queue) {
  let stopping = false;
  let stop = () => {};
  process.once('SIGTERM', () => {
    stopping = true;
    stop();
  });

  while (!stopping) {
    const connection = await connect(urls);
    const closed = once(connection, 'close');
    const stopped = new Promise((resolve) => {
      stop = resolve;
    });
    try {
      const channel = await connection.createChannel();
      channel.on('error', (error) => console.error(`channel: ${error.message}`));
      await channel.assertQueue(queue, { durable: true });
      await channel.prefetch(PREFETCH);
      const { consumerTag } = await channel.consume(queue, (message) => {
        if (message === null) return; // the broker cancelled the consumer
        console.log('received', message.content.toString().replace(/\.+$/, ''));
        channel.ack(message); // only after the work is done
      });
      await Promise.race([stopped, closed]);
      if (stopping) {
        await channel.cancel(consumerTag);
        await channel.close(); // after its close-ok the broker has seen every ack
        await connection.close();
      }
    } catch (error) {
      // What was delivered and not acked comes again on the next connection.
      console.error(`consuming: ${error.message}`);
    }
  }
}

const [action, urls, queue, count] = process.argv.slice(2);
if (action === 'publish') publish(urls.split(','), queue, Number(count));
else consume(urls.split(','), queue);
