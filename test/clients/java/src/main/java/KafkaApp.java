import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RetriableCommitFailedException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Produces and consumes with Kafka's Java client so that no acknowledged record is lost.
 *
 * <pre>
 * KafkaApp publish BOOTSTRAP-SERVERS TOPIC COUNT
 * KafkaApp consume BOOTSTRAP-SERVERS TOPIC
 * </pre>
 *
 * <p>publish prints "acked VALUE PARTITION OFFSET" for every record the broker has acknowledged;
 * consume prints "received VALUE PARTITION OFFSET" for every record it has processed, and runs
 * until SIGTERM. Both survive any number of broker restarts.
 */
public final class KafkaApp {
  private static final int VALUE_SIZE = 1024; // bytes: the value, padded with dots
  private static final int PARTITIONS = 4;

  public static void main(String[] args) throws Exception {
    if (args[0].equals("publish")) {
      publish(args[1], args[2], Integer.parseInt(args[3]));
    } else {
      consume(args[1], args[2]);
    }
  }

  private static void publish(String servers, String topic, int count) throws Exception {
    createTopic(servers, topic);
    Map<String, Object> config = new HashMap<>();
    config.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
    // acks=all and idempotence are the defaults: retries after a lost answer make no duplicate
    // and keep the order of each partition. The library retries until the delivery timeout.
    config.put(ProducerConfig.ACKS_CONFIG, "all");
    config.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
    config.put(ProducerConfig.DELIVERY_TIMEOUT_MS_CONFIG, 120_000);
    config.put(ProducerConfig.BUFFER_MEMORY_CONFIG, 512L * 1024);
    config.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
    config.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
    try (KafkaProducer<String, String> producer = new KafkaProducer<>(config)) {
      for (int number = 0; number < count; number++) {
        String value = "order-" + number;
        String padded = value + ".".repeat(VALUE_SIZE - value.length());
        producer.send(
            new ProducerRecord<>(topic, padded),
            (metadata, error) -> {
              if (error != null) {
                System.err.println("producing " + value + ": " + error);
              } else {
                System.out.println("acked " + value + " " + metadata.partition() + " " + metadata.offset());
              }
            });
      }
    } // close waits for what is still under way
  }

  private static void createTopic(String servers, String topic) throws Exception {
    try (Admin admin = Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, servers))) {
      admin.createTopics(List.of(new NewTopic(topic, Optional.of(PARTITIONS), Optional.empty()))).all().get();
    } catch (ExecutionException e) {
      if (!(e.getCause() instanceof TopicExistsException)) {
        throw e;
      }
    }
  }

  private static void consume(String servers, String topic) {
    CountDownLatch stop = AmqpApp.stopOnSigterm();
    Map<String, Object> config = new HashMap<>();
    config.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
    config.put(ConsumerConfig.GROUP_ID_CONFIG, topic + "-readers");
    config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
    config.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
    config.put(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, 6_000);
    config.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 200);
    config.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
    config.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
    try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config)) {
      consumer.subscribe(List.of(topic));
      while (stop.getCount() > 0) {
        ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
        for (ConsumerRecord<String, String> r : records) {
          String value = r.value().replaceAll("\\.+$", "");
          System.out.println("received " + value + " " + r.partition() + " " + r.offset());
        }
        if (!records.isEmpty()) {
          commit(consumer);
        }
      }
    }
  }

  /** Commits what was processed. A commit that fails is made good by the next one. */
  private static void commit(KafkaConsumer<String, String> consumer) {
    try {
      consumer.commitSync(Duration.ofSeconds(5));
    } catch (TimeoutException | RetriableCommitFailedException e) {
      System.err.println("committing: the broker is away: " + e);
    } catch (CommitFailedException | RebalanceInProgressException e) {
      // Another member owns the partitions now and reads from the last commit.
      System.err.println("committing: the group has moved on: " + e);
    }
  }
}
