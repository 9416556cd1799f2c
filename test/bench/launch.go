package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// newBrokers returns all brokers, none started, with data below dir.
func newBrokers(dir, binary, jars string) map[string]*broker {
	all := map[string]*broker{
		waybill:    {launch: launchWaybill(dir, binary)},
		rabbit:     {launch: launchRabbit(dir)},
		kafka:      {launch: launchKafka(filepath.Join(dir, "kafka"), jars)},
		kafkaFlush: {launch: launchKafka(filepath.Join(dir, "kafka-flush"), jars, "log.flush.interval.messages=1")},
	}
	addClusters(all, dir, binary, jars)
	for name, b := range all {
		b.name = name
	}
	return all
}

func launchWaybill(dir, binary string) func(*broker) error {
	return func(b *broker) error {
		ports, err := freePorts(3)
		if err != nil {
			return err
		}
		b.amqp, b.kafka, b.http = "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1], "127.0.0.1:"+ports[2]
		home := filepath.Join(dir, "waybill-node")
		if err := os.MkdirAll(home, 0o755); err != nil {
			return err
		}
		return b.run(home, nil, binary, "serve", "--data-dir", filepath.Join(home, "data"),
			"--amqp", b.amqp, "--kafka", b.kafka, "--http", b.http)
	}
}

// launchRabbit runs Debian's RabbitMQ under a name, with ports, a port mapper and a
// directory of its own, so that it meets no service of the machine.
func launchRabbit(dir string) func(*broker) error {
	return func(b *broker) error {
		ports, err := freePorts(3)
		if err != nil {
			return err
		}
		b.amqp = "127.0.0.1:" + ports[0]
		home := filepath.Join(dir, "rabbitmq")
		if err := os.MkdirAll(home, 0o755); err != nil {
			return err
		}
		env := []string{
			"HOME=" + home,
			"ERL_EPMD_PORT=" + ports[2],
			"RABBITMQ_NODENAME=waybill-peer@localhost",
			"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
			"RABBITMQ_NODE_PORT=" + ports[0],
			"RABBITMQ_DIST_PORT=" + ports[1],
			"RABBITMQ_MNESIA_BASE=" + filepath.Join(home, "mnesia"),
			"RABBITMQ_LOG_BASE=" + filepath.Join(home, "log"),
			"RABBITMQ_CONFIG_FILE=" + filepath.Join(home, "none"),
			"RABBITMQ_CONF_ENV_FILE=" + filepath.Join(home, "none"),
			"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(home, "plugins"),
		}
		if err := b.run(home, env, "epmd", "-port", ports[2], "-address", "127.0.0.1"); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), readyTime)
		defer cancel()
		if err := awaitListener(ctx, "127.0.0.1:"+ports[2]); err != nil {
			return fmt.Errorf("epmd: %w", err)
		}
		return b.run(home, env, "/usr/lib/rabbitmq/bin/rabbitmq-server")
	}
}

// launchKafka runs Kafka as its own start script does: one node, its heap, its collector.
func launchKafka(home, jars string, settings ...string) func(*broker) error {
	return func(b *broker) error {
		jars, err := filepath.Abs(jars)
		if err != nil {
			return err
		}
		ports, err := freePorts(2)
		if err != nil {
			return err
		}
		b.kafka = "127.0.0.1:" + ports[0]
		if err := os.MkdirAll(home, 0o755); err != nil {
			return err
		}
		config := filepath.Join(home, "server.properties")
		lines := append([]string{
			"process.roles=broker,controller", "node.id=1",
			"listeners=PLAINTEXT://" + b.kafka + ",CONTROLLER://127.0.0.1:" + ports[1],
			"controller.listener.names=CONTROLLER",
			"controller.quorum.bootstrap.servers=127.0.0.1:" + ports[1],
			"log.dirs=" + filepath.Join(home, "data"),
			"offsets.topic.replication.factor=1",
		}, settings...)
		if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			return err
		}
		java := []string{"-cp", jars + "/*", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
			"-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
			"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"}
		id, err := exec.Command("java", append(java, "kafka.tools.StorageTool", "random-uuid")...).Output()
		if err != nil {
			return fmt.Errorf("a cluster id: %w", err)
		}
		format := exec.Command("java", append(java, "kafka.tools.StorageTool", "format", "--standalone",
			"-t", strings.TrimSpace(string(id)), "-c", config)...)
		if out, err := format.CombinedOutput(); err != nil {
			return fmt.Errorf("format: %w\n%s", err, out)
		}
		return b.run(home, nil, "java", append(java, "kafka.Kafka", config)...)
	}
}
