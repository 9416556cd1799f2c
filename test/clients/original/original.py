"""Starts RabbitMQ or Kafka the way the tests start Waybill.

    WAYBILL_BINARY=$PWD/original/rabbitmq go test -tags clients -run RabbitMQParity -record .
    WAYBILL_BINARY=$PWD/original/kafka    go test -tags clients -run KafkaParity    -record .

It takes the flags of `waybill serve`, keeps everything in the data directory, answers /readyz,
and takes the broker with it when it is killed. RabbitMQ is Debian's package rabbitmq-server;
Kafka comes from Maven (pom.xml beside this file) when it is first needed.
"""

import http.server
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent

# Kills the broker's process group when the other end of the pipe is closed, which the kernel
# does even after a SIGKILL.
WATCHER = "import os, signal; os.read({pipe}, 1); os.killpg({group}, signal.SIGKILL)"


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rabbitmq(data, port):
    """Return the command and the environment of a RabbitMQ node."""
    (data / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
    (data / "enabled_plugins").write_text("[].\n")
    environment = {
        "HOME": data,
        "RABBITMQ_NODENAME": f"original{port}@localhost",
        "RABBITMQ_NODE_PORT": port,
        "RABBITMQ_DIST_PORT": free_port(),
        "RABBITMQ_CONFIG_FILE": data / "rabbitmq.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": data / "enabled_plugins",
        "RABBITMQ_MNESIA_BASE": data / "mnesia",
        "RABBITMQ_LOG_BASE": data / "log",
        "RABBITMQ_PID_FILE": data / "pid",
    }
    return ["/usr/lib/rabbitmq/bin/rabbitmq-server"], environment


def kafka(data, port):
    """Return the command and the environment of a Kafka node, whose storage it formats."""
    classes = HERE / "target" / "dependency"
    if not classes.exists():
        subprocess.check_call(["mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies"])
    java = ["java", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{classes}/*"]
    config = data / "server.properties"
    if not config.exists():
        controller = free_port()
        config.write_text(f"""\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={data}/logs
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=100
""")
        storage = [*java, "kafka.tools.StorageTool"]
        cluster = subprocess.check_output([*storage, "random-uuid"], text=True).split()[-1]
        subprocess.check_call([*storage, "format", "--standalone", "-t", cluster, "-c", config])
    return [*java, "kafka.Kafka", config], {}


def wait_for(port, broker):
    while broker.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the broker ended before it was ready")


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    kind, _serve, *flags = sys.argv[1:]
    flag = dict(zip(flags[::2], flags[1::2]))
    data = pathlib.Path(flag["--data-dir"]).resolve()
    data.mkdir(parents=True, exist_ok=True)
    prepare, address = {"rabbitmq": (rabbitmq, flag["--amqp"]), "kafka": (kafka, flag["--kafka"])}[kind]
    command, environment = prepare(data, port_of(address))
    environment = {name: str(value) for name, value in environment.items()}

    broker = subprocess.Popen(command, env=os.environ | environment, start_new_session=True)
    reader, writer = os.pipe()  # the writer stays open, in this process alone, as long as it lives
    subprocess.Popen([sys.executable, "-c", WATCHER.format(pipe=reader, group=broker.pid)],
                     pass_fds=[reader], start_new_session=True)
    wait_for(port_of(address), broker)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port_of(flag["--http"])), Ready)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.exit(broker.wait())


if __name__ == "__main__":
    main()
