import com.rabbitmq.client.Address;
import com.rabbitmq.client.AlreadyClosedException;
import com.rabbitmq.client.CancelCallback;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DeliverCallback;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeoutException;

/**
 * Publishes and consumes with RabbitMQ's Java client so that no acknowledged message is lost.
 *
 * <pre>
 * AmqpApp publish AMQP-URLS QUEUE COUNT
 * AmqpApp consume AMQP-URLS QUEUE
 * </pre>
 *
 * <p>publish prints "acked VALUE" for every message the broker has confirmed; consume prints
 * "received VALUE" for every message it has processed, and runs until SIGTERM. Both survive any
 * number of broker restarts. The URLs, with commas, are of the nodes of one cluster.
 */
public final class AmqpApp {
  private static final int BODY_SIZE = 1024; // bytes: the value, padded with dots
  private static final int WINDOW = 200; // messages published and not yet confirmed
  private static final int PREFETCH = 100;
  private static final int RECONNECT_DELAY_MS = 200;

  public static void main(String[] args) throws Exception {
    ConnectionFactory factory = new ConnectionFactory();
    String[] urls = args[1].split(",");
    factory.setUri(urls[0]); // user, password and vhost are those of all
    List<Address> nodes = new ArrayList<>();
    for (String url : urls) {
      URI uri = URI.create(url);
      nodes.add(new Address(uri.getHost(), uri.getPort()));
    }
    factory.setNetworkRecoveryInterval(RECONNECT_DELAY_MS);
    if (args[0].equals("publish")) {
      publish(factory, nodes, args[2], Integer.parseInt(args[3]));
    } else {
      consume(factory, nodes, args[2]);
    }
  }

  private static void publish(ConnectionFactory factory, List<Address> nodes, String queue, int count)
      throws InterruptedException {
    // The library can reconnect, but only the application knows which messages are still
    // unconfirmed: it opens a new channel and publishes those again.
    factory.setAutomaticRecoveryEnabled(false);
    List<String> unconfirmed = new ArrayList<>();
    for (int number = 0; number < count; number++) {
      unconfirmed.add("order-" + number);
    }
    while (!unconfirmed.isEmpty()) {
      Connection connection = connect(factory, nodes);
      unconfirmed = publishAll(connection, queue, unconfirmed);
      connection.abort();
    }
  }

  /** Connects to one of the nodes, for as long as it takes. */
  private static Connection connect(ConnectionFactory factory, List<Address> nodes) throws InterruptedException {
    while (true) {
      try {
        return factory.newConnection(nodes);
      } catch (IOException | TimeoutException e) {
        System.err.println("connecting: " + e + ", cause: " + e.getCause());
        Thread.sleep(RECONNECT_DELAY_MS);
      }
    }
  }

  /**
   * Publishes the values and returns those that were not confirmed. An unconfirmed message may or
   * may not have arrived: publishing it again may make a duplicate but loses nothing.
   */
  private static List<String> publishAll(Connection connection, String queue, List<String> values)
      throws InterruptedException {
    ConcurrentNavigableMap<Long, String> outstanding = new ConcurrentSkipListMap<>();
    int next = 0;
    try {
      Channel channel = connection.createChannel();
      channel.queueDeclare(queue, true, false, false, null);
      channel.confirmSelect();
      channel.addConfirmListener(
          (tag, multiple) -> {
            var confirmed = multiple ? outstanding.headMap(tag, true) : outstanding.subMap(tag, true, tag, true);
            confirmed.values().forEach(value -> System.out.println("acked " + value));
            confirmed.clear();
          },
          // A nacked message stays outstanding, so it is published again.
          (tag, multiple) -> System.err.println("nacked " + tag));
      while (next < values.size()) {
        for (int i = 0; i < WINDOW && next < values.size(); i++) {
          String value = values.get(next++);
          // Before the publish: the confirm may come before basicPublish returns.
          outstanding.put(channel.getNextPublishSeqNo(), value);
          channel.basicPublish("", queue, true, MessageProperties.PERSISTENT_BASIC, body(value));
        }
        channel.waitForConfirms(); // false after a nack: those are left in outstanding
      }
    } catch (IOException | ShutdownSignalException e) {
      System.err.println("publishing: " + e);
    }
    List<String> unconfirmed = new ArrayList<>(outstanding.values());
    unconfirmed.addAll(values.subList(next, values.size()));
    return unconfirmed;
  }

  private static byte[] body(String value) {
    return (value + ".".repeat(BODY_SIZE - value.length())).getBytes(StandardCharsets.UTF_8);
  }

  private static void consume(ConnectionFactory factory, List<Address> nodes, String queue) throws Exception {
    CountDownLatch stop = stopOnSigterm();
    // Automatic recovery (on by default) opens the connection and the channel again after a loss,
    // sets the prefetch, declares the queue and starts the consumer. The first connect is ours.
    Connection connection = connect(factory, nodes);
    Channel channel = connection.createChannel();
    channel.queueDeclare(queue, true, false, false, null);
    channel.basicQos(PREFETCH);

    DeliverCallback process =
        (tag, delivery) -> {
          String value = new String(delivery.getBody(), StandardCharsets.UTF_8);
          System.out.println("received " + value.replaceAll("\\.+$", ""));
          try {
            channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
          } catch (AlreadyClosedException e) {
            // The message is delivered again after the recovery.
            System.err.println("acking: " + e);
          }
        };
    CancelCallback cancelled = tag -> System.err.println("the broker cancelled the consumer");
    String tag = channel.basicConsume(queue, false, process, cancelled);

    stop.await();
    channel.basicCancel(tag);
    channel.close(); // after its close-ok the broker has seen every ack
    connection.close();
  }

  /**
   * Returns a latch that SIGTERM opens. The JVM ends when the main thread has ended, with exit
   * status 143.
   */
  static CountDownLatch stopOnSigterm() {
    CountDownLatch stop = new CountDownLatch(1);
    Thread main = Thread.currentThread();
    Thread hook =
        new Thread(
            () -> {
              stop.countDown();
              try {
                main.join();
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
            });
    Runtime.getRuntime().addShutdownHook(hook);
    return stop;
  }
}
